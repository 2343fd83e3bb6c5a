"""Schedulers against diffusers' classes."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from sd_rbee.backend import native

from tests import engine, fidelity
from tools.goldens.inputs import normal
from tools.goldens.store import Golden, load


def _name(case: dict[str, Any]) -> str:
    options = case["options"]
    karras = "karras" if options["use_karras_sigmas"] else "default"
    return f"{case['name']}-{case['scheduler']}-{options['timestep_spacing']}-{karras}"


@pytest.mark.parametrize(
    ("number", "case"),
    enumerate(load("schedules").cases),
    ids=lambda value: _name(value) if isinstance(value, dict) else "",
)
def test_schedule(number: int, case: dict[str, Any], golden: Callable[[str], Golden]) -> None:
    first, stop = golden("schedules").facts["steps"]
    expected = {
        key: golden("schedules").arrays[f"{number}/{key}"]
        for key in ("counts", "timesteps", "sigmas", "init_noise_sigma")
    }
    runs = [
        native.Scheduler(case["scheduler"], case["config"], steps, **case["options"]) for steps in range(first, stop)
    ]
    assert [len(run.timesteps) for run in runs] == expected["counts"].tolist()
    ours = {
        "timesteps": np.concatenate([run.timesteps for run in runs]),
        "sigmas": np.concatenate([run.sigmas for run in runs]),
        "init_noise_sigma": np.array([run.init_noise_sigma for run in runs]),
    }
    for key, values in ours.items():
        np.testing.assert_allclose(values, expected[key], rtol=fidelity.SCHEDULE, atol=0, err_msg=key)


def _cases() -> list[tuple[str, list[tuple[int, dict[str, Any]]]]]:
    numbered = sorted(enumerate(load("trajectories").cases), key=lambda item: item[1]["scheduler"])
    return [(name, list(group)) for name, group in groupby(numbered, key=lambda item: item[1]["scheduler"])]


@pytest.mark.parametrize(("scheduler", "cases"), _cases(), ids=[name for name, _ in _cases()])
def test_trajectory(scheduler: str, cases: list[tuple[int, dict[str, Any]]], golden: Callable[[str], Golden]) -> None:
    for number, case in cases:
        run = native.Scheduler(scheduler, case["config"], case["steps"], eta=case["eta"])
        outputs = normal(case["seed"], (len(run.timesteps), *case["shape"]))
        noise = normal(case["seed"] + 1, case["shape"])
        made = engine.trajectory(run, outputs, noise, seed=case["seed"])
        middle = len(outputs) // 2
        ours = [*made.samples[[0, middle, -1]], made.scaled[middle]]
        for what, values, expected in zip(
            ("first", "middle", "last", "scaled"), ours, golden("trajectories").arrays[str(number)], strict=True
        ):
            apart = fidelity.relative_rms(values, expected)
            assert apart <= fidelity.TRAJECTORY, f"{what} sample of {case}"
