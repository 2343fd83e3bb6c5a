"""Networks against those of transformers and diffusers in f64."""

from collections.abc import Callable
from typing import Any

import pytest

import fidelity
from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.checkpoints import CHECKPOINTS, FAMILIES, mean_magnitude
from tools.goldens.digest import digest
from tools.goldens.network_cases import run, sample
from tools.goldens.store import Golden, load
from tools.metrics import relative_rms, rms
from tools.random_checkpoint import CheckpointConfig, write_checkpoint


def _cases(part: str) -> list[Any]:
    return [
        pytest.param(number, case, id=f"{case['checkpoint']}-{case['part']}-{number}")
        for number, case in enumerate(load(part).cases)
    ]


_CONFIGS = {"tiny_networks": CHECKPOINTS, "family_networks": FAMILIES}


@pytest.fixture(scope="module")
def tiny(
    tmp_path_factory: pytest.TempPathFactory, golden: Callable[[str], Golden]
) -> dict[str, dict[str, native.Pipeline]]:
    """The tiny models by part and name."""

    def load(part: str, name: str, config: CheckpointConfig) -> native.Pipeline:
        folder = write_checkpoint(config, tmp_path_factory.mktemp("checkpoint"))
        expected = golden(part).facts["mean_magnitude"][name]
        assert mean_magnitude(folder, config) == pytest.approx(expected, rel=1e-6), (
            f"these are not the weights that the goldens were made with: python -m tools.goldens {part}"
        )
        return native.Pipeline.load(str(folder), device="cpu", dtype="f32")

    return {
        part: {name: load(part, name, config) for name, config in configs.items()} for part, configs in _CONFIGS.items()
    }


def _check(pipeline: native.Pipeline, golden: Golden, number: int, case: dict[str, Any]) -> None:
    values = run(pipeline, case)
    assert list(values.shape) == case["output_shape"]
    assert relative_rms(sample(values), golden.arrays[str(number)]) <= fidelity.NETWORK
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


@pytest.mark.parametrize(
    ("part", "number", "case"),
    [pytest.param(part, *case.values, id=f"{part}-{case.id}") for part in _CONFIGS for case in _cases(part)],
)
def test_tiny_model(
    part: str,
    number: int,
    case: dict[str, Any],
    tiny: dict[str, dict[str, native.Pipeline]],
    golden: Callable[[str], Golden],
) -> None:
    _check(tiny[part][case["checkpoint"]], golden(part), number, case)


def test_only_models_with_pooled_text_pool(tiny: dict[str, dict[str, native.Pipeline]]) -> None:
    for name, config in FAMILIES.items():
        pooled = tiny["family_networks"][name].pooled_prompt("a robot")
        assert (pooled is None) == (config.text_encoder_2 is None)
