"""Timesteps, sigmas and the first noise's scale of every scheduler, for 1 to 50 steps."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.goldens.scheduler_configs import configs
from tools.goldens.store import Golden
from tools.reference.schedulers import CLASSES, create, schedule

STEPS = 50
SPACINGS = (None, "leading", "trailing", "linspace")
WITH_SIGMAS = ("euler", "heun", "lms", "dpm++-2m", "dpm++-2m-sde", "unipc")
WITH_ZERO_SNR = ("ddim", "ddpm", "euler", "euler-ancestral", "dpm++-2m", "dpm++-2m-sde", "unipc", "lcm", "tcd")
WITHOUT_SPACING = ("lcm", "tcd")
SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


def make() -> Golden:
    """Each case is one configuration, scheduler and spacing; its arrays hold the runs one after the other."""
    golden = Golden([])
    for number, case in enumerate(_cases()):
        scheduler = create(case["scheduler"], case["config"], case["options"])
        runs = []
        for steps in range(*case["steps"]):
            scheduler.set_timesteps(steps)
            runs.append(schedule(scheduler))
        # diffusers keeps sigmas and fractional timesteps in f32, so that nothing is lost.
        golden.arrays[f"{number}/timesteps"] = np.concatenate([run.timesteps for run in runs]).astype(np.float32)
        golden.arrays[f"{number}/sigmas"] = np.concatenate([run.sigmas for run in runs]).astype(np.float32)
        golden.arrays[f"{number}/counts"] = np.array([len(run.timesteps) for run in runs], np.uint8)
        golden.arrays[f"{number}/init_noise_sigma"] = np.array([run.init_noise_sigma for run in runs])
        golden.cases.append(case)
    return golden


def _cases() -> Iterator[dict[str, Any]]:
    for (name, config), scheduler in itertools.product(configs().items(), CLASSES):
        spacings = (None,) if scheduler in WITHOUT_SPACING else SPACINGS
        options: list[dict[str, Any]] = [{"timestep_spacing": spacing} for spacing in spacings]
        if scheduler in WITH_SIGMAS and name in ("v1", "turbo", "cosine"):
            options += [{sigmas: True} for sigmas in SIGMAS]
        if scheduler in WITH_ZERO_SNR and name == "v2":
            options += [{"rescale_betas_zero_snr": True, "timestep_spacing": spacing} for spacing in spacings]
        # diffusers' Runge-Kutta steps need four.
        least = 4 if scheduler == "pndm" and "skip_prk_steps" not in config else 1
        for chosen in options:
            case = {"name": name, "config": config, "scheduler": scheduler, "options": chosen}
            yield {**case, "steps": [least, STEPS + 1]}
