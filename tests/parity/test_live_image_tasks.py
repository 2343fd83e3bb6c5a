"""Image-to-image and inpainting against diffusers' pipelines, live."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fidelity
import needs_torch  # noqa: F401
import sd_rbee
from draws import draw, seeds
from image_tasks import random_mask, random_picture
from random_models import random_model, with_channels
from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.schedules import WITHOUT_SPACING
from tools.goldens.trajectories import SPACINGS
from tools.random_checkpoint import write_checkpoint
from tools.reference.pipeline import Pipeline

pytestmark = pytest.mark.parity

_SCHEDULERS = native.Scheduler.names()
# More guidance than lcm's models are made for drives others so far that text-to-image is not itself again either, up to
# 30 dB apart.
_GUIDANCE = {"lcm": (1.0, 2.0)}
# What diffusers' inpainting takes: four channels of latents, and with them a mask and four of the masked picture.
_LATENTS = 4
_TOLD = 2 * _LATENTS + 1


def _write_model(seed: int, folder: Path, in_channels: int) -> Path:
    """A random model of four latent channels whose UNet takes `in_channels`."""
    return write_checkpoint(with_channels(random_model(seed), in_channels), folder, seed=seed)


def _request(seed: int, multiple: int, scheduler: str) -> dict[str, Any]:
    """Anything that a user may ask for."""
    random = draw(seed, f"image task {scheduler}")
    # diffusers wants multiples of 8 whatever the VAE's factor is.
    multiple = math.lcm(8, multiple)
    height, width = random.randint(3, 9) * multiple, random.randint(3, 9) * multiple
    strength = random.choice((1.0, 1.0, random.uniform(0.8, 1), random.uniform(0.4, 1)))
    return {
        "prompt": random.choice(("a robot", "an owl", "")),
        "negative_prompt": random.choice((None, "a cat")),
        "num_inference_steps": math.ceil(20 / strength) + random.randint(0, 5),
        "strength": strength,
        "guidance_scale": random.choice(_GUIDANCE.get(scheduler, (1.0, 3.5, 7.5))),
        "height": height,
        "width": width,
        "image": random_picture(seed, height, width),
        "num_images_per_prompt": random.randint(1, 2),
        "seed": random.getrandbits(32),
        "scheduler": scheduler,
        "eta": random.choice((0.0, 0.5, 1.0)) if scheduler in ("ddim", "tcd") else 0.0,
        "timestep_spacing": None if scheduler in WITHOUT_SPACING else random.choice((None, *SPACINGS)),
    }


def _assert_same_pictures(folder: Path, request: dict[str, Any]) -> None:
    ours = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    drawn = [np.asarray(image) for image in ours.generate(**request).images]
    for pixels, expected in zip(drawn, Pipeline(folder).generate(**request), strict=True):
        fidelity.assert_same_picture(pixels, expected)


def _masked(seed: int, request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "mask_image": random_mask(seed, request["height"], request["width"])}


def _multiple(folder: Path) -> int:
    return native.Pipeline.load(str(folder), device="cpu", dtype="f32").size_multiple


@pytest.mark.parametrize("scheduler", _SCHEDULERS)
@pytest.mark.parametrize("seed", seeds(1))
def test_image_to_image_of_the_embedded_model(seed: int, scheduler: str) -> None:
    folder = models.resolve("pollen")
    _assert_same_pictures(folder, _request(seed, _multiple(folder), scheduler))


@pytest.mark.parametrize("scheduler", _SCHEDULERS)
@pytest.mark.parametrize("seed", seeds(1))
def test_image_to_image(seed: int, scheduler: str, tmp_path: Path) -> None:
    seed += _SCHEDULERS.index(scheduler)
    folder = _write_model(seed, tmp_path / "model", _LATENTS)
    _assert_same_pictures(folder, _request(seed, _multiple(folder), scheduler))


@pytest.mark.parametrize("in_channels", [_LATENTS, _TOLD])
@pytest.mark.parametrize("scheduler", _SCHEDULERS)
@pytest.mark.parametrize("seed", seeds(1))
def test_inpainting(seed: int, scheduler: str, in_channels: int, tmp_path: Path) -> None:
    seed += _SCHEDULERS.index(scheduler)
    folder = _write_model(seed, tmp_path / "model", in_channels)
    _assert_same_pictures(folder, _masked(seed, _request(seed, _multiple(folder), scheduler)))


@pytest.mark.parametrize("in_channels", [_LATENTS, _TOLD])
@pytest.mark.parametrize("seed", seeds(3))
def test_step_saving(seed: int, in_channels: int, tmp_path: Path) -> None:
    folder = _write_model(seed, tmp_path / "model", in_channels)
    random = draw(seed, "image task savings")
    request = _request(seed, _multiple(folder), random.choice(_SCHEDULERS))
    request |= {
        "guidance_start": random.uniform(0, 0.4),
        "guidance_end": random.uniform(0.5, 1),
        "deepcache_interval": random.randint(1, 3),
    }
    _assert_same_pictures(folder, _masked(seed, request))


@pytest.mark.parametrize("seed", seeds(3))
def test_what_is_not_said_is_diffusers_own(seed: int, tmp_path: Path) -> None:
    folder = _write_model(seed, tmp_path / "model", _LATENTS)
    request = {**_request(seed, _multiple(folder), "ddim"), "num_inference_steps": 25, "strength": None}
    _assert_same_pictures(folder, request)
    _assert_same_pictures(folder, _masked(seed, request))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("in_channels", [_LATENTS, _TOLD])
@pytest.mark.parametrize("seed", seeds(3))
def test_a_part_that_is_cropped_to_is_enlarged_drawn_and_put_back(seed: int, in_channels: int, tmp_path: Path) -> None:
    folder = _write_model(seed, tmp_path / "model", in_channels)
    random = draw(seed, "padding mask crop")
    height, width = random.randint(90, 300), random.randint(90, 300)
    image, mask_image = random_picture(seed, height, width), np.zeros((height, width), np.uint8)
    mask_image[30:70, 20:80] = random_mask(seed, 40, 60)
    request = {**_request(seed, _multiple(folder), "ddim"), "num_images_per_prompt": 1}
    request |= {"image": image, "mask_image": mask_image, "padding_mask_crop": random.randint(0, 32)}
    ours = sd_rbee.Pipeline.load(folder, "cpu", "f32").generate(**request)
    (theirs,) = Pipeline(folder).generate(**request)
    fidelity.assert_same_picture(np.asarray(ours.images[0]), theirs)
