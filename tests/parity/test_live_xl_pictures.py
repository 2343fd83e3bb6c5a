"""SDXL's pictures of every task against diffusers' pipelines, live."""

import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import fidelity
import needs_torch  # noqa: F401
from draws import draw, seeds
from image_tasks import random_mask, random_picture
from random_models import random_xl_model, with_channels
from sd_rbee.backend import native
from tools.goldens.schedules import WITHOUT_SPACING
from tools.random_checkpoint import write_checkpoint
from tools.reference.pipeline import Pipeline

pytestmark = pytest.mark.parity

# How much diffusers' pipelines draw anew where nothing is said.
_STRENGTHS = {"text-to-image": 1.0, "image-to-image": 0.3, "inpaint": 0.9999}
_SIZES = ("original_size", "target_size", "negative_original_size", "negative_target_size")
_CROPS = ("crops_coords_top_left", "negative_crops_coords_top_left")


def _write_model(seed: int, folder: Path, in_channels: int) -> Path:
    return write_checkpoint(with_channels(random_xl_model(seed), in_channels), folder / "model", seed=seed)


def _sizes(random: Random) -> dict[str, tuple[int, int]]:
    """Some of the sizes that SDXL is told."""
    pairs = {name: (random.randint(1, 2000), random.randint(1, 2000)) for name in _SIZES}
    pairs |= {name: (random.randint(0, 200), random.randint(0, 200)) for name in _CROPS}
    return {name: pair for name, pair in pairs.items() if random.random() < 0.4}


def _assert_same_pictures(folder: Path, seed: int, scheduler: str, task: str, strength: float | None = None) -> None:
    random = draw(seed, f"xl request {scheduler}")
    ours = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    # diffusers wants multiples of 8 whatever the VAE's factor is.
    multiple = math.lcm(8, ours.size_multiple)
    height, width = multiple * random.randint(3, 7), multiple * random.randint(3, 7)
    steps = math.ceil(20 / (strength or _STRENGTHS[task])) + random.randint(0, 3)
    if scheduler in WITHOUT_SPACING:
        # As many as were distilled.
        steps = min(steps, 50)
    request: dict[str, Any] = {
        "prompt": "a robot",
        "negative_prompt": random.choice((None, "", "a cat")),
        "prompt_2": random.choice((None, "an owl")),
        "num_inference_steps": steps,
        "guidance_scale": random.choice((1.0, 2.0) if scheduler == "lcm" else (1.0, 3.0)),
        "guidance_rescale": random.choice((0.0, 0.0, 0.5)),
        "height": height,
        "width": width,
        "scheduler": scheduler,
        "seed": random.getrandbits(32),
        "num_images_per_prompt": random.randint(1, 2),
        **({} if strength is None else {"strength": strength}),
        **_sizes(random),
    }
    if task != "text-to-image":
        request["image"] = random_picture(seed, height, width)
    if task == "inpaint":
        request["mask_image"] = random_mask(seed, height, width)
    made = ours.generate(**request)
    # In f64: in f32 diffusers itself is up to 60 dB off from that with untrained weights.
    theirs = Pipeline(folder, is_double=True).generate(**request)
    for pixels, expected in zip(made.images, theirs, strict=True):
        fidelity.assert_same_picture(np.asarray(pixels), expected)


@pytest.mark.parametrize("scheduler", native.Scheduler.names())
@pytest.mark.parametrize("seed", seeds(1))
def test_text_to_image(seed: int, scheduler: str, tmp_path: Path) -> None:
    seed += native.Scheduler.names().index(scheduler)
    _assert_same_pictures(_write_model(seed, tmp_path, 4), seed, scheduler, "text-to-image")


@pytest.mark.parametrize("scheduler", native.Scheduler.names())
@pytest.mark.parametrize("seed", seeds(1))
def test_image_to_image(seed: int, scheduler: str, tmp_path: Path) -> None:
    seed += native.Scheduler.names().index(scheduler)
    strength = draw(seed, "xl strength").choice((1.0, 0.7, None))
    _assert_same_pictures(_write_model(seed, tmp_path, 4), seed, scheduler, "image-to-image", strength)


@pytest.mark.parametrize("in_channels", [4, 9])
@pytest.mark.parametrize("scheduler", native.Scheduler.names())
@pytest.mark.parametrize("seed", seeds(1))
def test_inpainting(seed: int, scheduler: str, in_channels: int, tmp_path: Path) -> None:
    seed += native.Scheduler.names().index(scheduler)
    strength = draw(seed, "xl strength").choice((1.0, 0.7, None))
    _assert_same_pictures(_write_model(seed, tmp_path, in_channels), seed, scheduler, "inpaint", strength)
