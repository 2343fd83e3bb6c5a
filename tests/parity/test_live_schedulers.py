"""Schedulers against diffusers' classes, live: every number of steps from 1 to 50, over random configurations."""

import itertools
from typing import Any

import numpy as np
import pytest

import fidelity
import native_runs
import needs_torch  # noqa: F401
from draws import draw, seeds
from sd_rbee.backend import native
from sd_rbee.errors import InvalidParamsError
from tools.goldens.inputs import normal
from tools.goldens.scheduler_configs import V1
from tools.reference import schedulers

pytestmark = pytest.mark.parity

STEPS = range(1, 51)
SPACINGS = ("leading", "trailing", "linspace")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
KINDS = ("ddim", "euler", "euler-ancestral", "dpm++-2m")
KARRAS = ("euler", "dpm++-2m")


def _assert_same_schedule(kind: str, config: dict[str, Any], steps: int, **options: object) -> None:
    theirs = schedulers.schedule(schedulers.build(kind, {**config, **options}, steps))
    if min(theirs.timesteps) < 0 and kind == "ddim":
        # diffusers goes on with the last training timestep, which Python finds at -1.
        with pytest.raises(InvalidParamsError, match="timestep -1 lies outside"):
            native.Scheduler(kind, {**config, **options}, steps)
        return
    ours = native.Scheduler(kind, {**config, **options}, steps)
    what = f"{kind}, {steps} steps, {config}, {options}"
    assert len(ours.timesteps) == len(theirs.timesteps), what
    rtol = fidelity.SCHEDULE
    # Of a thousand timesteps one that is nearly 0 has no relative precision.
    np.testing.assert_allclose(ours.timesteps, theirs.timesteps, rtol=rtol, atol=fidelity.SCHEDULE, err_msg=what)
    np.testing.assert_allclose(ours.sigmas, theirs.sigmas, rtol=rtol, atol=0.0, err_msg=what)
    np.testing.assert_allclose(ours.init_noise_sigma, theirs.init_noise_sigma, rtol=rtol, atol=0.0, err_msg=what)


def _assert_same_trajectory(
    kind: str, config: dict[str, Any], steps: int, seed: int, shape: tuple[int, ...], eta: float
) -> None:
    theirs = schedulers.build(kind, config, steps)
    ours = native.Scheduler(kind, config, steps, eta=eta)
    outputs, noise = normal(seed, (len(theirs.timesteps), *shape)), normal(seed + 1, shape)
    expected = schedulers.trajectory(theirs, outputs, noise, seed=seed, eta=eta)
    made = native_runs.trajectory(ours, outputs, noise, seed=seed)
    for index in range(len(outputs)):
        what = f"step {index} of {steps}, {kind}, eta {eta}, seed {seed}, {shape}, {config}"
        assert fidelity.relative_rms(made.scaled[index], expected.scaled[index]) <= fidelity.TRAJECTORY, what
        assert fidelity.relative_rms(made.samples[index], expected.samples[index]) <= fidelity.TRAJECTORY, what


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("karras", [False, True])
def test_every_number_of_steps(kind: str, spacing: str, karras: bool) -> None:
    if karras and kind not in KARRAS:
        pytest.skip("has no Karras sigmas")
    options: dict[str, Any] = {"timestep_spacing": spacing, **({"use_karras_sigmas": True} if karras else {})}
    for steps in STEPS:
        _assert_same_schedule(kind, V1, steps, **options)
        for number, prediction in enumerate(PREDICTION_TYPES):
            if (kind, prediction) == ("euler-ancestral", "sample"):
                continue  # diffusers refuses it
            config = {**V1, **options, "prediction_type": prediction}
            for eta in (0.0, 0.5, 1.0) if kind == "ddim" else (0.0,):
                _assert_same_trajectory(kind, config, steps, 10 * steps + number, (1, 2, 3, 4), eta)


def _random_config(seed: int, kind: str) -> dict[str, Any]:
    random = draw(seed, f"scheduler {kind}")
    start = random.uniform(1e-5, 2e-3)
    config: dict[str, Any] = {
        "num_train_timesteps": random.choice((100, 250, 999, 1000, 1000, 1000, 1024)),
        "beta_start": start,
        "beta_end": random.uniform(start, 0.03),
        "beta_schedule": random.choice(("linear", "scaled_linear", "squaredcos_cap_v2")),
        "prediction_type": random.choice(PREDICTION_TYPES[: 2 if kind == "euler-ancestral" else 3]),
        "steps_offset": random.choice((0, 1)),
        "set_alpha_to_one": random.choice((True, False)),
        "clip_sample": random.choice((True, False)),
        "clip_sample_range": random.uniform(0.5, 3),
        "solver_order": random.choice((1, 2)),
        "solver_type": random.choice(("midpoint", "heun")),
        "lower_order_final": random.choice((True, False)),
        "euler_at_final": random.choice((True, False)),
        "final_sigmas_type": random.choice(("zero", "sigma_min")),
        "timestep_type": random.choice(("discrete", "continuous")),
    }
    if random.random() < 0.7:
        config["timestep_spacing"] = random.choice(SPACINGS)
    if kind in KARRAS and random.random() < 0.4:
        config["use_karras_sigmas"] = True
    if random.random() < 0.2:
        config["trained_betas"] = np.linspace(start, 0.02, config["num_train_timesteps"]).tolist()
    return config


def _is_refused(kind: str, config: dict[str, Any], steps: int) -> bool:
    return kind == "ddim" and min(schedulers.build(kind, config, steps).timesteps) < 0


@pytest.mark.parametrize(("seed", "kind"), itertools.product(seeds(15), KINDS))
def test_random_configuration(seed: int, kind: str) -> None:
    config = _random_config(seed, kind)
    random = draw(seed, f"trajectory {kind}")
    for steps in STEPS:
        _assert_same_schedule(kind, config, steps)
        if steps % 5 == seed % 5 and not _is_refused(kind, config, steps):
            shape = (1, random.randint(1, 4), random.randint(1, 6), random.randint(1, 6))
            eta = random.choice((0.0, random.random(), 1.0)) if kind == "ddim" else 0.0
            _assert_same_trajectory(kind, config, steps, random.getrandbits(31), shape, eta)
