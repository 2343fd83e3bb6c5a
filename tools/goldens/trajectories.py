"""Whole runs of every scheduler on model outputs that are fixed beforehand."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.goldens.inputs import normal
from tools.goldens.scheduler_configs import COSINE, LINEAR, TURBO, V1, V2, pollen
from tools.goldens.schedules import WITH_ZERO_SNR, WITHOUT_SPACING
from tools.goldens.store import Golden
from tools.reference.schedulers import CLASSES, build, trajectory

# What each scheduler can be told beyond the spacing, as changes to the configuration.
VARIANTS: list[tuple[str, float, dict[str, Any]]] = [
    ("ddim", 0.0, {}),
    ("ddim", 0.5, {}),
    ("ddim", 1.0, {}),
    ("ddim", 0.0, {"clip_sample": True, "clip_sample_range": 1.5, "set_alpha_to_one": True}),
    ("ddpm", 0.0, {}),
    ("ddpm", 0.0, {"variance_type": "fixed_large", "clip_sample": True, "clip_sample_range": 1.5}),
    ("euler", 0.0, {}),
    ("euler", 0.0, {"use_karras_sigmas": True}),
    ("euler", 0.0, {"interpolation_type": "log_linear"}),
    ("euler", 0.0, {"final_sigmas_type": "sigma_min"}),
    ("euler-ancestral", 0.0, {}),
    ("heun", 0.0, {}),
    ("heun", 0.0, {"use_karras_sigmas": True, "clip_sample": True, "clip_sample_range": 1.5}),
    ("lms", 0.0, {}),
    ("lms", 0.0, {"use_beta_sigmas": True}),
    ("pndm", 0.0, {}),
    ("pndm", 0.0, {"skip_prk_steps": False}),
    ("dpm++-2m", 0.0, {}),
    ("dpm++-2m", 0.0, {"use_karras_sigmas": True}),
    ("dpm++-2m", 0.0, {"solver_order": 1}),
    ("dpm++-2m", 0.0, {"solver_type": "heun"}),
    ("dpm++-2m", 0.0, {"euler_at_final": True}),
    ("dpm++-2m", 0.0, {"lower_order_final": False, "final_sigmas_type": "sigma_min"}),
    ("dpm++-2m-sde", 0.0, {}),
    ("dpm++-2m-sde", 0.0, {"solver_type": "heun", "use_exponential_sigmas": True}),
    ("unipc", 0.0, {}),
    ("unipc", 0.0, {"solver_order": 3, "disable_corrector": [0, 2]}),
    ("unipc", 0.0, {"solver_order": 1, "use_karras_sigmas": True}),
    ("unipc", 0.0, {"solver_type": "bh1", "final_sigmas_type": "sigma_min", "lower_order_final": False}),
    ("lcm", 0.0, {}),
    ("tcd", 0.0, {}),
    ("tcd", 0.3, {}),
]
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
SPACINGS = ("leading", "trailing", "linspace")
# Below and above the 16 values from which torch draws noise in another way, even and odd.
SHAPES = ((1, 2, 4, 4), (1, 1, 3, 5), (1, 3, 3, 7))
STEPS = (20, 7)
# diffusers refuses clean samples from these.
NO_SAMPLE = ("euler-ancestral", "pndm")


def make() -> Golden:
    """Each case is one run; its array holds the samples after the first, a middle and the last step, and an input."""
    golden = Golden([])
    for number, case in enumerate(_cases()):
        scheduler = build(case["scheduler"], case["config"], case["steps"])
        outputs = normal(case["seed"], (len(scheduler.timesteps), *case["shape"]))
        noise = normal(case["seed"] + 1, case["shape"])
        original = normal(case["seed"] + 2, case["shape"]) if case["begin"] else None
        run = trajectory(
            scheduler, outputs, noise, seed=case["seed"], eta=case["eta"], begin=case["begin"], original=original
        )
        middle = len(run.samples) // 2
        golden.arrays[str(number)] = np.stack([*run.samples[[0, middle, -1]], run.scaled[middle]])
        golden.cases.append(case)
    return golden


def _cases() -> Iterator[dict[str, Any]]:
    seed = itertools.count(1000, 10)

    def case(scheduler: str, eta: float, config: dict[str, Any], steps: int, begin: int = 0) -> dict[str, Any]:
        number = next(seed)
        shape = list(SHAPES[number // 10 % len(SHAPES)])
        return {
            "scheduler": scheduler,
            "eta": eta,
            "config": config,
            "steps": steps,
            "shape": shape,
            "seed": number,
            "begin": begin,
        }

    for (scheduler, eta, changes), prediction in itertools.product(VARIANTS, PREDICTION_TYPES):
        if prediction == "sample" and scheduler in NO_SAMPLE:
            continue
        base = {**V1, **changes, "prediction_type": prediction}
        for spacing in () if scheduler in WITHOUT_SPACING else SPACINGS:
            yield case(scheduler, eta, {**base, "timestep_spacing": spacing}, STEPS[0])
        yield case(scheduler, eta, base, STEPS[1])
        if prediction == PREDICTION_TYPES[0]:
            yield case(scheduler, eta, base, STEPS[0], begin=8)
    for config, (scheduler, eta, changes) in itertools.product((V2, TURBO, LINEAR, COSINE, pollen()), VARIANTS):
        if not changes and (scheduler != "pndm" or "skip_prk_steps" in config):
            yield case(scheduler, eta, config, STEPS[1])
    for scheduler in CLASSES:
        yield case(scheduler, 0.0, TURBO, 1)
        if scheduler in WITH_ZERO_SNR:
            # From sigma 4096 on, the rounding of the sample itself is all that euler's steps leave to compare.
            spacing = "leading" if scheduler.startswith("euler") else "trailing"
            zero_snr = {**V2, "rescale_betas_zero_snr": True, "timestep_spacing": spacing}
            yield case(scheduler, 0.0, zero_snr, STEPS[0])
