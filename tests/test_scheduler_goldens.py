"""Schedulers against diffusers' classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fidelity
import native_runs
from sd_rbee.backend import native
from tools.goldens.inputs import normal
from tools.goldens.store import Golden, load
from tools.metrics import relative_rms


def _schedules() -> list[Any]:
    cases = []
    for number, case in enumerate(load("schedules").cases):
        options = "-".join(key if value is True else str(value) for key, value in case["options"].items())
        cases.append(pytest.param(number, case, id=f"{case['name']}-{case['scheduler']}-{options}"))
    return cases


@pytest.mark.parametrize(("number", "case"), _schedules())
def test_schedule(number: int, case: dict[str, Any], golden: Callable[[str], Golden]) -> None:
    goldens = golden("schedules")
    runs = [
        native.Scheduler(case["scheduler"], case["config"], steps, **case["options"]) for steps in range(*case["steps"])
    ]
    counts = [len(run.timesteps) for run in runs]
    assert counts == goldens.arrays[f"{number}/counts"].tolist()
    ours = {
        "timesteps": np.concatenate([run.timesteps for run in runs]),
        "sigmas": np.concatenate([run.sigmas for run in runs]),
        "init_noise_sigma": np.array([run.init_noise_sigma for run in runs]),
    }
    for key, values in ours.items():
        expected = goldens.arrays[f"{number}/{key}"]
        np.testing.assert_allclose(values, expected, rtol=fidelity.SCHEDULE, atol=0, err_msg=key)


_TRAJECTORIES = [
    pytest.param(number, case, id=f"{case['scheduler']}-{number}")
    for number, case in enumerate(load("trajectories").cases)
]


@pytest.mark.parametrize(("number", "case"), _TRAJECTORIES)
def test_trajectory(number: int, case: dict[str, Any], golden: Callable[[str], Golden]) -> None:
    scheduler = native.Scheduler(case["scheduler"], case["config"], case["steps"], eta=case["eta"])
    outputs = normal(case["seed"], (len(scheduler.timesteps), *case["shape"]))
    noise = normal(case["seed"] + 1, case["shape"])
    original = normal(case["seed"] + 2, case["shape"]) if case["begin"] else None
    run = native_runs.trajectory(scheduler, outputs, noise, seed=case["seed"], begin=case["begin"], original=original)
    middle = len(run.samples) // 2
    ours = [*run.samples[[0, middle, -1]], run.scaled[middle]]
    expected = golden("trajectories").arrays[str(number)]
    for what, values, theirs in zip(("first sample", "middle", "last", "an input"), ours, expected, strict=True):
        assert relative_rms(values, theirs) <= fidelity.TRAJECTORY, what
