"""Schedulers against diffusers' classes, live: every number of steps from 1 to 50, over random configurations."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

import fidelity
import native_runs
import needs_torch  # noqa: F401
from draws import draw, seeds
from sd_rbee import CheckpointError, InvalidParamsError
from sd_rbee.backend import native
from tools.goldens import schedules, trajectories
from tools.goldens.inputs import normal
from tools.goldens.scheduler_configs import V1
from tools.metrics import relative_rms, rms
from tools.reference import schedulers

pytestmark = pytest.mark.parity

STEPS = range(1, 51)
SPACINGS = ("leading", "trailing", "linspace")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
KINDS = tuple(schedulers.CLASSES)
SIGMAS = (None, *schedules.SIGMAS)


def _predictions(kind: str) -> tuple[str, ...]:
    return PREDICTION_TYPES[: 2 if kind in trajectories.NO_SAMPLE else 3]


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


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """A trajectory to compare; the one from a later step than the first starts from a noised sample."""

    kind: str
    config: dict[str, Any]
    steps: int
    seed: int
    shape: tuple[int, ...]
    eta: float
    begin: int = 0


def _apart(run: _Run, *, to_largest: bool = False) -> float:
    """The largest difference of a run's samples and inputs, relative to each one's RMS or to the largest before it."""
    theirs = schedulers.build(run.kind, run.config, run.steps)
    ours = native.Scheduler(run.kind, run.config, run.steps, eta=run.eta)
    outputs, noise = normal(run.seed, (len(theirs.timesteps), *run.shape)), normal(run.seed + 1, run.shape)
    original = normal(run.seed + 2, run.shape) if run.begin else None
    expected = schedulers.trajectory(
        theirs, outputs, noise, seed=run.seed, eta=run.eta, begin=run.begin, original=original
    )
    made = native_runs.trajectory(ours, outputs, noise, seed=run.seed, begin=run.begin, original=original)
    assert np.all(np.isfinite(made.samples)), run
    worst, largest = 0.0, rms(noise * ours.init_noise_sigma)
    for index in range(len(made.samples)):
        if not np.all(np.isfinite(expected.samples[index])):
            break  # A root of a difference that rounded to just below zero, which we take for zero.
        largest = max(largest, rms(expected.samples[index]))
        for values, reference in (
            (made.scaled[index], expected.scaled[index]),
            (made.samples[index], expected.samples[index]),
        ):
            scale = largest / rms(reference) if to_largest else 1.0
            worst = max(worst, relative_rms(values, reference) / scale)
    return worst


def _every() -> list[Any]:
    cases = []
    for kind, spacing, sigmas in itertools.product(KINDS, SPACINGS, SIGMAS):
        if sigmas is not None and kind not in schedules.WITH_SIGMAS:
            continue
        if kind in schedules.WITHOUT_SPACING and spacing != SPACINGS[0]:
            continue
        cases.append(pytest.param(kind, spacing, sigmas, id=f"{kind}-{spacing}-{sigmas}"))
    return cases


@pytest.mark.parametrize(("kind", "spacing", "sigmas"), _every())
def test_every_number_of_steps(kind: str, spacing: str, sigmas: str | None) -> None:
    base = {**V1, "timestep_spacing": spacing, **({} if sigmas is None else {sigmas: True})}
    etas = (0.0, 0.5, 1.0) if kind in ("ddim", "tcd") else (0.0,)
    order = 2 if kind == "heun" else 1
    for steps in STEPS:
        _assert_same_schedule(kind, base, steps)
        predictions = list(enumerate(_predictions(kind)))
        if kind == "lms":
            predictions = [predictions[steps % 3]]  # diffusers integrates numerically, at 10 ms a step.
        for (number, prediction), eta in itertools.product(predictions, etas):
            config = {**base, "prediction_type": prediction}
            run = _Run(kind, config, steps, seed=10 * steps + number, shape=(1, 2, 3, 4), eta=eta)
            for begin in {0, order * (steps // 3)}:
                assert _apart(dataclasses.replace(run, begin=begin)) <= fidelity.TRAJECTORY, (run, begin)


@pytest.mark.parametrize(("kind", "spacing"), itertools.product(schedules.WITH_ZERO_SNR, SPACINGS))
def test_zero_terminal_snr(kind: str, spacing: str) -> None:
    base = {**V1, "timestep_spacing": spacing, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    for steps in STEPS:
        _assert_same_schedule(kind, base, steps)
        run = _Run(kind, base, steps, seed=10 * steps, shape=(1, 2, 3, 4), eta=0.0)
        # A sample that begins with sigma 4096 is not known more exactly afterwards than it was before.
        assert _apart(run, to_largest=True) <= fidelity.TRAJECTORY, run


def test_runge_kutta_steps() -> None:
    config = {**V1, "skip_prk_steps": False}
    for steps in range(1, 4):
        with pytest.raises(InvalidParamsError, match="num_inference_steps"):
            native.Scheduler("pndm", config, steps)
    for steps, spacing, prediction in itertools.product(range(4, 51), SPACINGS, _predictions("pndm")):
        chosen = {**config, "timestep_spacing": spacing, "prediction_type": prediction}
        _assert_same_schedule("pndm", chosen, steps)
        run = _Run("pndm", chosen, steps, seed=steps, shape=(1, 2, 3, 4), eta=0.0)
        for begin in (0, 5):
            assert _apart(dataclasses.replace(run, begin=begin)) <= fidelity.TRAJECTORY, (run, begin)


def _random_config(seed: int, kind: str) -> dict[str, Any]:
    random = draw(seed, f"scheduler {kind}")
    start = random.uniform(1e-5, 2e-3)
    config: dict[str, Any] = {
        "num_train_timesteps": random.choice((100, 250, 999, 1000, 1000, 1000, 1024)),
        "beta_start": start,
        "beta_end": random.uniform(start, 0.03),
        "beta_schedule": random.choice(("linear", "scaled_linear", "squaredcos_cap_v2")),
        "prediction_type": random.choice(_predictions(kind)),
        "steps_offset": random.choice((0, 1)),
        "set_alpha_to_one": random.choice((True, False)),
        "clip_sample": random.choice((True, False)),
        "clip_sample_range": random.uniform(0.5, 3),
        "solver_order": random.choice((1, 2, 3) if kind == "unipc" else (1, 2)),
        "solver_type": random.choice(("bh1", "bh2") if kind == "unipc" else ("midpoint", "heun")),
        "lower_order_final": random.choice((True, False)),
        "euler_at_final": random.choice((True, False)),
        "final_sigmas_type": random.choice(("zero", "sigma_min")),
        "interpolation_type": random.choice(("linear", "linear", "log_linear")),
        "timestep_type": random.choice(("discrete", "continuous")),
        "disable_corrector": random.sample(range(8), random.randint(0, 3)),
        "variance_type": random.choice(("fixed_small", "fixed_small_log", "fixed_large")),
        "skip_prk_steps": random.choice((True, False)),
        "original_inference_steps": random.choice((50, 50, 30, 100)),
        "timestep_scaling": random.uniform(0.01, 20),
    }
    if kind != "ddpm":
        del config["variance_type"]  # The other classes that have one know none of these.
    for key in random.sample(sorted(config), 3):
        del config[key]  # So that the class's own default counts.
    if random.random() < 0.7:
        config["timestep_spacing"] = random.choice(SPACINGS)
    if kind in schedules.WITH_SIGMAS and random.random() < 0.6:
        config[random.choice(schedules.SIGMAS)] = True
    if kind in schedules.WITH_ZERO_SNR and random.random() < 0.2:
        config["rescale_betas_zero_snr"] = True
    if random.random() < 0.2:
        config["trained_betas"] = np.linspace(start, 0.02, config.get("num_train_timesteps", 1000)).tolist()
    return config


def _cannot_be_obeyed(kind: str, config: dict[str, Any], steps: int) -> type[Exception] | None:
    """What we raise where diffusers raises too, or goes on with what means nothing."""
    try:
        theirs = schedulers.build(kind, config, steps)
    except ValueError:
        return InvalidParamsError
    timesteps = theirs.timesteps.numpy()
    if kind in ("ddim", "ddpm", "pndm") and np.any(timesteps < 0):
        return InvalidParamsError  # diffusers would count such timesteps from the end of the training schedule.
    if kind in ("ddim", "ddpm", "lcm", "tcd") and config.get("prediction_type", "epsilon") == "epsilon":
        alphas = theirs.alphas_cumprod.numpy()[timesteps.astype(int)]
        return CheckpointError if np.any(alphas == 0) else None  # diffusers would divide by it.
    return None


def _can_be_followed(kind: str, config: dict[str, Any], steps: int) -> bool:
    """Whether what diffusers computes of a run is more than chance."""
    if kind == "pndm":
        # From next to no signal, its formula subtracts numbers that are thousands of times larger than the difference.
        return config.get("beta_schedule") != "squaredcos_cap_v2"
    if kind == "unipc":
        # Between equal sigmas, and of the third order on the way to zero, its equations have no solution, and it fails.
        sigmas = native.Scheduler(kind, config, steps).sigmas
        to_zero = config.get("final_sigmas_type", "zero") == "zero" and not config.get("lower_order_final", True)
        return len(set(sigmas)) == len(sigmas) and not to_zero
    return True


@pytest.mark.parametrize(("seed", "kind"), itertools.product(seeds(15), KINDS))
def test_random_configuration(seed: int, kind: str) -> None:
    config = _random_config(seed, kind)
    cosine = config.get("beta_schedule") == "squaredcos_cap_v2"
    spread = [key for key in schedules.SIGMAS if key in config]
    # Timesteps that are found from sigmas cross 0, where an f32 logarithm leaves more or less than nothing.
    least = 1e-6 if spread or config.get("timestep_type") == "continuous" else 0.0
    cut = kind in ("dpm++-2m", "dpm++-2m-sde") and (cosine or spread != ["use_karras_sigmas"])
    cut = cut or (kind == "unipc" and spread != ["use_karras_sigmas"])
    if spread and cut:
        least = 1.0  # These are cut to whole numbers, not rounded, so that the last bit decides between two.
    # With eta 1 the first steps of the cosine schedule have the root of a difference of two numbers that are 1 but for
    # their last bits, which in torch depend on its square root.
    most = 0.9 if cosine else 1.0
    random = draw(seed, f"trajectory {kind}")
    for steps in STEPS:
        if error := _cannot_be_obeyed(kind, config, steps):
            with pytest.raises(error):
                native.Scheduler(kind, config, steps)
            continue
        _assert_same_schedule(kind, config, steps, least)
        if not _can_be_followed(kind, config, steps):
            continue
        if steps % 5 == seed % 5:
            shape = (1, random.randint(1, 4), random.randint(1, 6), random.randint(1, 6))
            eta = random.choice((0.0, random.uniform(0, 0.9), most)) if kind in ("ddim", "tcd") else 0.0
            begin = random.choice((0, (2 if kind == "heun" else 1) * random.randrange(steps)))
            run = _Run(kind, config, steps, random.getrandbits(31), shape, eta, begin)
            # Some of these begin with sigmas of hundreds or thousands. What is left of such a sample after a long step
            # cannot be more exact than the rounding of the sample itself, on either side.
            assert _apart(run, to_largest=True) <= fidelity.TRAJECTORY, run
