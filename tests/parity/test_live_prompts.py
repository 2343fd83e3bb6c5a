"""Layers of the text encoders left out, and prompts in the webui's syntax, live."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fidelity
import needs_torch  # noqa: F401
from draws import draw, seeds
from sd_rbee.backend import native
from tools.metrics import relative_rms
from tools.random_checkpoint import PRESETS, write_checkpoint
from tools.reference.pipeline import Pipeline
from tools.reference.prompts import Prompts

pytestmark = pytest.mark.parity

_WORDS = (
    "a",
    "robot",
    "apples",
    ",",
    " ",
    "(",
    ")",
    "[",
    "]",
    ":1.3)",
    ":.7)",
    "\\(",
    "\\",
    ":",
    "BREAK",
    "42",
    "\u732b",
)


@pytest.mark.parametrize("clip_skip", [0, 1])
@pytest.mark.parametrize("preset", ["tiny", "tiny-v2", "tiny-xl"])
def test_pictures_without_the_last_layers(preset: str, clip_skip: int, tmp_path: Path) -> None:
    folder = write_checkpoint(PRESETS[preset], tmp_path / "model")
    request: dict[str, Any] = {
        "prompt": "a robot",
        "negative_prompt": "a cat",
        "num_inference_steps": 20,
        "guidance_scale": 3.5,
        "height": 64,
        "width": 64,
        "seed": 5,
        "scheduler": "ddim",
        "clip_skip": clip_skip,
    }
    ours = native.Pipeline.load(str(folder), device="cpu", dtype="f32").generate(**request)
    fidelity.assert_same_picture(np.asarray(ours.images[0]), Pipeline(folder).generate(**request)[0])


@pytest.mark.parametrize("preset", ["tiny", "tiny-v2", "tiny-xl"])
def test_any_prompt(preset: str, tmp_path: Path) -> None:
    folder = write_checkpoint(PRESETS[preset], tmp_path / "model")
    ours, theirs = native.Pipeline.load(str(folder), device="cpu", dtype="f32"), Prompts(folder)
    for seed in seeds(20):
        random = draw(seed, "prompt")
        text = "".join(random.choice(_WORDS) + random.choice(("", " ")) for _ in range(random.randint(1, 150)))
        hidden, pooled = theirs.encode(text, None)
        found = ours.encode_prompt(text, prompt_syntax="a1111")
        assert relative_rms(found, hidden) <= fidelity.NETWORK, text
        if pooled is not None:
            found_pooled = ours.pooled_prompt(text, prompt_syntax="a1111")
            assert found_pooled is not None
            assert relative_rms(found_pooled, pooled) <= fidelity.NETWORK, text
