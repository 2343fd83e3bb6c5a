"""Networks of random shape against those of transformers and diffusers in f64, live."""

from pathlib import Path

import pytest

import fidelity
import needs_torch  # noqa: F401
from draws import draw, seeds
from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.network_cases import folder_cases, run
from tools.reference import random_models
from tools.reference.networks import Networks

pytestmark = pytest.mark.parity


def _check(folder: Path, seed: int) -> None:
    ours = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    theirs = Networks(folder)
    for case in folder_cases(folder, folder.name, seed=100 * seed):
        apart = fidelity.relative_rms(run(ours, case), run(theirs, case))
        assert apart <= fidelity.NETWORK, case


@pytest.mark.parametrize("seed", seeds(60))
def test_random_model(seed: int, tmp_path: Path) -> None:
    drawn = random_models.write(tmp_path / "model", draw(seed, "networks"))
    print(drawn)
    _check(tmp_path / "model", seed)


@pytest.mark.parametrize("seed", seeds(3))
def test_embedded_model(seed: int) -> None:
    _check(models.resolve("pollen"), seed)
