"""Prompts in the webui's syntax, and layers of the text encoders left out."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fidelity
from sd_rbee import InvalidParamsError, Pipeline
from sd_rbee.backend import native
from support import pixels, pollen, small
from tools.goldens.checkpoints import mean_magnitude
from tools.goldens.network_cases import sample
from tools.goldens.prompt_cases import MODELS
from tools.goldens.store import Golden, load
from tools.metrics import relative_rms, rms
from tools.random_checkpoint import write_checkpoint

LONG = "a very (long:1.2) prompt of many words, " * 30


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, golden: Callable[[str], Golden]) -> dict[str, native.Pipeline]:
    """The tiny models by name."""
    loaded = {}
    for name, config in MODELS.items():
        folder = write_checkpoint(config, tmp_path_factory.mktemp("checkpoint"))
        assert mean_magnitude(folder, config) == pytest.approx(
            golden("prompts").facts["mean_magnitude"][name], rel=1e-6
        )
        loaded[name] = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    return loaded


@pytest.mark.parametrize(("number", "case"), list(enumerate(load("prompts").cases)))
def test_prompts_are_the_webuis(
    number: int, case: dict[str, Any], models: dict[str, native.Pipeline], golden: Callable[[str], Golden]
) -> None:
    expected = golden("prompts").arrays
    pipeline = models[case["checkpoint"]]
    hidden = np.asarray(pipeline.encode_prompt(case["text"], clip_skip=case["clip_skip"], prompt_syntax="a1111"))
    assert list(hidden.shape) == case["output_shape"]
    assert relative_rms(sample(hidden)[:256], expected[str(number)]) <= fidelity.NETWORK
    assert rms(hidden) == pytest.approx(case["rms"], rel=fidelity.NETWORK)
    pooled = pipeline.pooled_prompt(case["text"], prompt_syntax="a1111")
    if (key := f"{number} pooled") in expected:
        assert relative_rms(np.asarray(pooled), expected[key]) <= fidelity.NETWORK
    else:
        assert pooled is None


@pytest.mark.parametrize("text", ["", "a robot", "a (robot:1)", "an owl's hat, 42"])
def test_weights_of_one_are_plain(text: str) -> None:
    engine = pollen().native_pipeline
    plain = engine.encode_prompt(text.replace("(", "").replace(":1)", ""))
    assert np.array_equal(plain, engine.encode_prompt(text, prompt_syntax="a1111"))


def test_plain_prompts_take_signs_as_they_stand() -> None:
    engine = pollen().native_pipeline
    assert not np.array_equal(engine.encode_prompt("a (robot)"), engine.encode_prompt("a robot"))
    cut = pollen().generate("word " * 200, **small())
    assert len(cut.truncations) == 1


def test_long_prompts_draw_and_are_not_cut() -> None:
    made = pollen().generate(LONG, **small(prompt_syntax="a1111", negative_prompt="(blue)"))
    assert (made.truncations, made.warnings) == ([], [])
    assert made.parameters["prompt_syntax"] == "a1111"
    # The end counts.
    other = pollen().generate(LONG + "a red apple", **small(prompt_syntax="a1111", negative_prompt="(blue)"))
    assert not np.array_equal(pixels(made), pixels(other))
    short = pollen().generate("a robot", **small(prompt_syntax="a1111", negative_prompt=LONG))
    assert not np.array_equal(pixels(short), pixels(pollen().generate("a robot", **small(prompt_syntax="a1111"))))


def test_clip_skip_is_for_the_prompt_alone_unless_the_syntax_is_the_webuis() -> None:
    def drawn(**changes: object) -> Any:  # noqa: ANN401
        return pixels(pollen().generate("a robot", **small(guidance_scale=3.0, **changes)))

    assert np.array_equal(drawn(), drawn(clip_skip=0))
    assert not np.array_equal(drawn(), drawn(clip_skip=1))
    assert not np.array_equal(drawn(clip_skip=1), drawn(clip_skip=1, prompt_syntax="a1111"))
    assert np.array_equal(drawn(), drawn(prompt_syntax="a1111"))


def test_what_was_asked_for_is_told() -> None:
    made = pollen().generate("a robot", **small(clip_skip=1, prompt_syntax="a1111"))
    assert (made.parameters["clip_skip"], made.parameters["prompt_syntax"]) == (1, "a1111")
    # The webui counts from 1.
    assert ", Clip skip: 2," in made.images[0].info["parameters"]
    assert json.loads(made.images[0].info["sd-rbee"])["clip_skip"] == 1
    assert "Clip skip" not in pollen().generate("a robot", **small()).images[0].info["parameters"]


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ({"prompt": "(a:9999)"}, "prompt: got a weight of 9999, allowed is weights of -1000 to 1000"),
        ({"prompt": "", "negative_prompt": "(a:-9999)"}, "negative_prompt: got a weight of -9999"),
        ({"prompt": "word BREAK " * 100}, "prompt: got 100 chunks of 30 tokens, allowed is at most 64"),
    ],
)
def test_what_is_too_much_is_named(prompts: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidParamsError, match=says):
        pollen().generate(
            prompts["prompt"],
            **small(prompt_syntax="a1111", guidance_scale=3.0, negative_prompt=prompts.get("negative_prompt")),
        )


def test_the_candle_engine_leaves_no_layers_out() -> None:
    with pytest.raises(InvalidParamsError, match="clip_skip: got 1, allowed is none, or 0 to 0 for this model"):
        Pipeline.load(engine="candle").generate("a robot", **small(clip_skip=1))
