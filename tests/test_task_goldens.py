"""Whole pictures of tiny models of every family, for every task and scheduler, against diffusers' pipelines."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import fidelity
from sd_rbee.backend import native
from tools.goldens.checkpoints import mean_magnitude
from tools.goldens.rows import pixels
from tools.goldens.store import Golden, load
from tools.goldens.task_cases import IMAGE, INPAINT, MODELS, TEXT, arguments
from tools.random_checkpoint import PRESETS, write_checkpoint

_CASES = load("task_pictures").cases
_NAMES = [f"{case['model']}-{case['task']}-{case['scheduler']}-{number}" for number, case in enumerate(_CASES)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, golden: Callable[[str], Golden]) -> dict[str, native.Pipeline]:
    """The tiny models by name."""
    loaded = {}
    for name in MODELS:
        folder = write_checkpoint(PRESETS[name], tmp_path_factory.mktemp("checkpoint"))
        expected = golden("task_pictures").facts["mean_magnitude"][name]
        assert mean_magnitude(folder, PRESETS[name]) == pytest.approx(expected, rel=1e-6), (
            "these are not the weights that the goldens were made with: python -m tools.goldens task_pictures"
        )
        loaded[name] = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    return loaded


@pytest.mark.parametrize(("number", "case"), list(enumerate(_CASES)), ids=_NAMES)
def test_picture(
    number: int, case: dict[str, Any], models: dict[str, native.Pipeline], golden: Callable[[str], Golden]
) -> None:
    drawn = models[case["model"]].generate(**arguments(case))
    assert drawn.parameters["task"] == case["task"]
    for image, expected in zip(drawn.images, pixels(golden("task_pictures").arrays[str(number)]), strict=True):
        fidelity.assert_same_picture(np.asarray(image), expected)


def test_every_scheduler_and_every_model_has_every_task(models: dict[str, native.Pipeline]) -> None:
    schedulers = {(case["scheduler"], case["task"]) for case in _CASES}
    assert schedulers == set(product(native.Scheduler.names(), (TEXT, IMAGE, INPAINT)))
    assert {(case["model"], case["task"]) for case in _CASES} == {
        (name, task) for name, model in models.items() for task in model.tasks
    }
