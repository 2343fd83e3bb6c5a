"""Schedulers against diffusers' classes, live: every number of steps from 1 to 50, over random configurations."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import fidelity
import native_runs
import needs_torch  # noqa: F401
from draws import draw, seeds
from sd_rbee import InvalidParamsError
from sd_rbee.backend import native
from tools.goldens.inputs import normal
from tools.goldens.scheduler_configs import V1
from tools.reference import schedulers

pytestmark = pytest.mark.parity

STEPS = range(1, 51)
SPACINGS = ("leading", "trailing", "linspace")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
KINDS = ("ddim", "euler", "euler-ancestral", "dpm++-2m")
KARRAS = ("euler", "dpm++-2m")


def _assert_same_schedule(kind: str, config: dict[str, Any], steps: int, least: float = 0.0) -> None:
    """Compares the numbers of a run; timesteps may always be `least` apart."""
    theirs = schedulers.schedule(schedulers.build(kind, config, steps))
    what = f"{kind}, {steps} steps, {config}"
    ours = native.Scheduler(kind, config, steps)
    assert len(ours.timesteps) == len(theirs.timesteps), what
    for values, expected, atol in (
        (ours.timesteps, theirs.timesteps, least),
        (ours.sigmas, theirs.sigmas, 0.0),
        (ours.init_noise_sigma, theirs.init_noise_sigma, 0.0),
    ):
        np.testing.assert_allclose(values, expected, rtol=fidelity.SCHEDULE, atol=atol, err_msg=what)


@dataclass(frozen=True, slots=True)
class _Run:
    """A trajectory to compare."""

    kind: str
    config: dict[str, Any]
    steps: int
    seed: int
    shape: tuple[int, ...]
    eta: float


def _apart(run: _Run, *, to_largest: bool = False) -> float:
    """The largest difference of a run's samples and inputs, relative to each one's RMS or to the largest before it."""
    theirs = schedulers.build(run.kind, run.config, run.steps)
    ours = native.Scheduler(run.kind, run.config, run.steps, eta=run.eta)
    outputs, noise = normal(run.seed, (len(theirs.timesteps), *run.shape)), normal(run.seed + 1, run.shape)
    expected = schedulers.trajectory(theirs, outputs, noise, seed=run.seed, eta=run.eta)
    made = native_runs.trajectory(ours, outputs, noise, seed=run.seed)
    assert np.all(np.isfinite(made.samples)), run
    worst, largest = 0.0, fidelity.rms(noise * ours.init_noise_sigma)
    for index in range(len(outputs)):
        if not np.all(np.isfinite(expected.samples[index])):
            break  # A root of a difference that rounded to just below zero, which we take for zero.
        largest = max(largest, fidelity.rms(expected.samples[index]))
        for values, reference in (
            (made.scaled[index], expected.scaled[index]),
            (made.samples[index], expected.samples[index]),
        ):
            scale = largest / fidelity.rms(reference) if to_largest else 1.0
            worst = max(worst, fidelity.relative_rms(values, reference) / scale)
    return worst


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("kind", "karras"), [*((kind, False) for kind in KINDS), *((kind, True) for kind in KARRAS)])
def test_every_number_of_steps(kind: str, spacing: str, karras: bool) -> None:
    base = {**V1, "timestep_spacing": spacing, **({"use_karras_sigmas": True} if karras else {})}
    # diffusers' euler-ancestral refuses "sample".
    predictions = PREDICTION_TYPES[:2] if kind == "euler-ancestral" else PREDICTION_TYPES
    etas = (0.0, 0.5, 1.0) if kind == "ddim" else (0.0,)
    for steps in STEPS:
        _assert_same_schedule(kind, base, steps)
        for (number, prediction), eta in itertools.product(enumerate(predictions), etas):
            config = {**base, "prediction_type": prediction}
            run = _Run(kind, config, steps, seed=10 * steps + number, shape=(1, 2, 3, 4), eta=eta)
            assert _apart(run) <= fidelity.TRAJECTORY, run


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
        "interpolation_type": random.choice(("linear", "linear", "log_linear")),
        "timestep_type": random.choice(("discrete", "continuous")),
    }
    if random.random() < 0.7:
        config["timestep_spacing"] = random.choice(SPACINGS)
    if kind in KARRAS and random.random() < 0.4:
        config["use_karras_sigmas"] = True
    if random.random() < 0.2:
        config["trained_betas"] = np.linspace(start, 0.02, config["num_train_timesteps"]).tolist()
    return config


@pytest.mark.parametrize(("seed", "kind"), itertools.product(seeds(15), KINDS))
def test_random_configuration(seed: int, kind: str) -> None:
    config = _random_config(seed, kind)
    cosine, karras = config["beta_schedule"] == "squaredcos_cap_v2", "use_karras_sigmas" in config
    # Timesteps that are found from sigmas cross 0, where an f32 logarithm leaves more or less than nothing.
    least = 1e-6 if karras or config["timestep_type"] == "continuous" else 0.0
    if kind == "dpm++-2m" and cosine and karras:
        least = 1.0  # These are cut to whole numbers, not rounded, so that the last bit decides between two.
    # With eta 1 the first steps of the cosine schedule have the root of a difference of two numbers that are 1 but for
    # their last bits, which in torch depend on its square root.
    most = 0.9 if cosine else 1.0
    random = draw(seed, f"trajectory {kind}")
    for steps in STEPS:
        if kind == "ddim" and np.any(schedulers.build(kind, config, steps).timesteps.numpy() < 0):
            # diffusers would count such timesteps from the end of the training schedule.
            with pytest.raises(InvalidParamsError, match="num_inference_steps"):
                native.Scheduler(kind, config, steps)
            continue
        _assert_same_schedule(kind, config, steps, least)
        if steps % 5 == seed % 5:
            shape = (1, random.randint(1, 4), random.randint(1, 6), random.randint(1, 6))
            eta = random.choice((0.0, random.uniform(0, 0.9), most)) if kind == "ddim" else 0.0
            run = _Run(kind, config, steps, random.getrandbits(31), shape, eta)
            # Some of these begin with sigmas of hundreds or thousands. What is left of such a sample after a long step
            # cannot be more exact than the rounding of the sample itself, on either side.
            assert _apart(run, to_largest=True) <= fidelity.TRAJECTORY, run
