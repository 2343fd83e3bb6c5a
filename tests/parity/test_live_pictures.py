"""Whole pictures against diffusers' StableDiffusionPipeline, live, and against our own other engine."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fidelity
import needs_torch  # noqa: F401
from draws import draw, seeds
from random_models import write_random_model
from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.schedules import SIGMAS, WITH_SIGMAS, WITHOUT_SPACING
from tools.goldens.trajectories import SPACINGS
from tools.metrics import psnr, relative_rms
from tools.reference.pipeline import Pipeline

pytestmark = pytest.mark.parity

_THINGS = ("a robot", "an owl", "a red apple", "a pizza on a blue background", "a guitar and a candle", "")
# candle's GEGLU is the tanh approximation: its UNet is some 5e-4 off at each step.
_CANDLE_UNET = 5e-3
_CANDLE_PSNR = 45.0


def _request(seed: int, multiple: int) -> dict[str, Any]:
    """Anything that a user may ask for."""
    random = draw(seed, "request")
    # diffusers wants multiples of 8 whatever the VAE's factor is.
    multiple = math.lcm(8, multiple)
    scheduler = random.choice(native.Scheduler.names())
    return {
        "prompt": random.choice(_THINGS),
        "negative_prompt": random.choice((None, "", "a cat")),
        "num_inference_steps": random.randint(20, 30),
        "guidance_scale": random.choice((1.0, 3.5, 7.5)),
        "height": random.randint(8, 18) * multiple,
        "width": random.randint(8, 18) * multiple,
        "num_images_per_prompt": random.randint(1, 2),
        "seed": random.getrandbits(32),
        "scheduler": scheduler,
        "guidance_rescale": random.choice((0.0, 0.0, 0.7)),
        "eta": random.choice((0.0, 0.5, 1.0)) if scheduler in ("ddim", "tcd") else 0.0,
        "timestep_spacing": None if scheduler in WITHOUT_SPACING else random.choice((None, *SPACINGS)),
        **({random.choice(SIGMAS): random.choice((None, True))} if scheduler in WITH_SIGMAS else {}),
    }


def _savings(seed: int, branches: int) -> dict[str, Any]:
    """Any of the options that compute less."""
    random = draw(seed, "savings")
    start = random.choice((0.0, random.uniform(0, 0.5)))
    return {
        "guidance_start": start,
        "guidance_end": random.choice((1.0, random.uniform(start + 0.1, 1))),
        "deepcache_interval": random.randint(1, 4),
        "deepcache_branch": random.randrange(branches),
    }


def _branches(folder: Path) -> int:
    """Skip connections that DeepCache may part the model's UNet at."""
    unet = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    levels, layers = len(unet["block_out_channels"]), unet["layers_per_block"]
    skips = levels + (levels * layers if isinstance(layers, int) else sum(layers))
    return skips - (unet["mid_block_type"] is None)


def _assert_same_pictures(folder: Path, seed: int, savings: dict[str, Any] | None = None) -> None:
    ours = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    request = {**_request(seed, ours.size_multiple), **(savings or {})}
    drawn = [np.asarray(image) for image in ours.generate(**request).images]
    for pixels, expected in zip(drawn, Pipeline(folder).generate(**request), strict=True):
        fidelity.assert_same_picture(pixels, expected)


@pytest.mark.parametrize("seed", seeds(12))
def test_embedded_model(seed: int) -> None:
    _assert_same_pictures(models.resolve("pollen"), seed)


@pytest.mark.parametrize("seed", seeds(6))
def test_random_model(seed: int, tmp_path: Path) -> None:
    _assert_same_pictures(write_random_model(seed, tmp_path / "model"), seed)


@pytest.mark.parametrize("seed", seeds(3))
def test_step_saving_of_the_embedded_model(seed: int) -> None:
    folder = models.resolve("pollen")
    _assert_same_pictures(folder, seed, _savings(seed, _branches(folder)))


@pytest.mark.parametrize("seed", seeds(6))
def test_step_saving_of_a_random_model(seed: int, tmp_path: Path) -> None:
    folder = write_random_model(seed, tmp_path / "model")
    # Small, since some models attend to every pixel.
    _assert_same_pictures(folder, seed, {**_savings(seed, _branches(folder)), "height": 24, "width": 32})


@pytest.mark.parametrize("seed", seeds(3))
def test_candle_engine(seed: int) -> None:
    folder = str(models.resolve("pollen"))
    ours, candle = (native.Pipeline.load(folder, device="cpu", engine=engine) for engine in ("native", "candle"))
    request = _request(seed, ours.size_multiple)
    prompt, shape = request["prompt"], ours.latent_shape(request["height"], request["width"])
    embeddings = ours.encode_prompt(prompt)
    latents = native.Generator(seed).randn([1, *shape])
    assert relative_rms(embeddings, candle.encode_prompt(prompt)) <= fidelity.NETWORK
    unet = relative_rms(ours.predict(latents, 500.0, embeddings), candle.predict(latents, 500.0, embeddings))
    assert unet <= _CANDLE_UNET
    assert relative_rms(ours.vae_decode(latents), candle.vae_decode(latents)) <= fidelity.NETWORK
    for pixels, expected in zip(ours.generate(**request).images, candle.generate(**request).images, strict=True):
        assert psnr(np.asarray(pixels), np.asarray(expected)) >= _CANDLE_PSNR
