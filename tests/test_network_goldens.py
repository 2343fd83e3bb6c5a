"""Networks against those of transformers and diffusers in f64."""

from collections.abc import Callable
from typing import Any

import pytest

import fidelity
from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.checkpoints import CHECKPOINTS, mean_magnitude
from tools.goldens.digest import digest
from tools.goldens.network_cases import rms, run, sample
from tools.goldens.store import Golden, load
from tools.random_checkpoint import write_checkpoint


def _cases(part: str) -> list[Any]:
    return [
        pytest.param(number, case, id=f"{case['checkpoint']}-{case['part']}-{number}")
        for number, case in enumerate(load(part).cases)
    ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, golden: Callable[[str], Golden]) -> dict[str, native.Pipeline]:
    """The tiny models by name."""
    loaded = {}
    for name, config in CHECKPOINTS.items():
        folder = write_checkpoint(config, tmp_path_factory.mktemp("checkpoint"))
        expected = golden("tiny_networks").facts["mean_magnitude"][name]
        assert mean_magnitude(folder, config) == pytest.approx(expected, rel=1e-6), (
            "these are not the weights that the goldens were made with: python -m tools.goldens tiny_networks"
        )
        loaded[name] = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    return loaded


def _check(pipeline: native.Pipeline, golden: Golden, number: int, case: dict[str, Any]) -> None:
    values = run(pipeline, case)
    assert list(values.shape) == case["output_shape"]
    assert fidelity.relative_rms(sample(values), golden.arrays[str(number)]) <= fidelity.NETWORK
    assert rms(values) == pytest.approx(case["rms"], rel=fidelity.NETWORK)


@pytest.mark.parametrize(("number", "case"), _cases("networks"))
def test_embedded_model(
    number: int, case: dict[str, Any], pollen: native.Pipeline, golden: Callable[[str], Golden]
) -> None:
    goldens = golden("networks")
    assert goldens.facts["pollen"] == digest(models.resolve("pollen")), (
        "the goldens are those of another model: python -m tools.goldens networks pictures"
    )
    _check(pollen, goldens, number, case)


@pytest.mark.parametrize(("number", "case"), _cases("tiny_networks"))
def test_tiny_model(
    number: int, case: dict[str, Any], tiny: dict[str, native.Pipeline], golden: Callable[[str], Golden]
) -> None:
    _check(tiny[case["checkpoint"]], golden("tiny_networks"), number, case)
