"""Networks of random shapes against transformers and diffusers, live."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fidelity
import needs_torch  # noqa: F401
from draws import draw, seeds
from random_models import random_model, random_xl_model, with_channels, write_random_model
from sd_rbee import models
from sd_rbee.backend import native
from tools.metrics import relative_rms
from tools.random_checkpoint import CheckpointConfig, write_checkpoint
from tools.reference.networks import Networks

pytestmark = pytest.mark.parity

_PROMPTS = ("", "a robot", "Ünï-code, 42 tomatoes & an owl's hat! " * 20)


def _assert_same_networks(folder: Path, seed: int, in_channels: int | None = None) -> None:
    ours = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    theirs = Networks(folder)
    random = draw(seed, "inputs")
    for prompt in _PROMPTS:
        expected = theirs.encode_prompt(prompt)
        assert relative_rms(ours.encode_prompt(prompt), expected) <= fidelity.NETWORK
        pooled, expected_pooled = ours.pooled_prompt(prompt), theirs.pooled_prompt(prompt)
        assert (pooled is None) == (expected_pooled is None)
        if pooled is not None and expected_pooled is not None:
            assert relative_rms(pooled, expected_pooled) <= fidelity.NETWORK
    embeddings = np.repeat(np.asarray(ours.encode_prompt("a robot")), 2, axis=0)
    multiple = ours.size_multiple
    # The UNet halves its sizes, rounding up; sizes that it cannot halve evenly are part of the test.
    height, width = (random.randint(5, 12) * multiple for _ in range(2))
    channels, *sides = ours.latent_shape(height, width)
    sample = np.asarray(native.Generator(seed).randn([2, in_channels or channels, *sides]))
    added = []
    if (pooled := ours.pooled_prompt("a robot")) is not None:
        time_ids = np.array([[random.randint(0, 2048) for _ in range(6)] for _ in range(2)], np.float32)
        added = [np.repeat(np.asarray(pooled), 2, axis=0).data, time_ids.data]
    for timestep in (999.0, random.uniform(1, 998), 0.0):
        expected = theirs.predict(sample.data, timestep, embeddings.data, *added)
        predicted = ours.predict(sample.data, timestep, embeddings.data, *added)
        assert relative_rms(predicted, expected) <= fidelity.NETWORK
    latents = np.ascontiguousarray(sample[:1, :channels])
    decoded = ours.vae_decode(latents.data)
    assert relative_rms(decoded, theirs.vae_decode(latents.data)) <= fidelity.NETWORK
    pixels = np.clip(np.asarray(decoded), -1, 1)
    assert relative_rms(ours.vae_encode(pixels.data), theirs.vae_encode(pixels.data)) <= fidelity.NETWORK
    sampled = ours.vae_encode(pixels.data, seed=seed)
    assert relative_rms(sampled, theirs.vae_encode(pixels.data, seed=seed)) <= fidelity.NETWORK


@pytest.mark.parametrize("seed", seeds(25))
def test_random_model(seed: int, tmp_path: Path) -> None:
    _assert_same_networks(write_random_model(seed, tmp_path / "model"), seed)


@pytest.mark.parametrize("seed", seeds(15))
def test_random_xl_model(seed: int, tmp_path: Path) -> None:
    _assert_same_networks(write_checkpoint(random_xl_model(seed), tmp_path / "model", seed=seed), seed)


@pytest.mark.parametrize("draw_model", [random_model, random_xl_model])
@pytest.mark.parametrize("seed", seeds(4))
def test_random_inpainting_model(seed: int, draw_model: Callable[[int], CheckpointConfig], tmp_path: Path) -> None:
    model = with_channels(draw_model(seed), 9)
    _assert_same_networks(write_checkpoint(model, tmp_path / "model", seed=seed), seed, in_channels=9)


@pytest.mark.parametrize("seed", seeds(2))
def test_embedded_model(seed: int) -> None:
    _assert_same_networks(models.resolve("pollen"), seed)
