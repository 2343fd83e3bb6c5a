"""Timesteps, sigmas and the first noise's scale of every scheduler, for 1 to 50 steps."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.goldens.scheduler_configs import configs
from tools.goldens.store import Golden
from tools.reference.schedulers import CLASSES, build, schedule

STEPS = range(1, 51)
SPACINGS = (None, "leading", "trailing", "linspace")
KARRAS = {"euler": (None, True), "dpm++-2m": (None, True)}


def make() -> Golden:
    """Each case is one configuration, scheduler and spacing; its arrays hold the runs one after the other."""
    golden = Golden([], facts={"steps": [STEPS.start, STEPS.stop]})
    for number, case in enumerate(_cases()):
        runs = [schedule(build(case["scheduler"], case["config"], steps, **case["options"])) for steps in STEPS]
        # diffusers keeps sigmas and fractional timesteps in f32, so that nothing is lost.
        golden.arrays[f"{number}/timesteps"] = np.concatenate([run.timesteps for run in runs]).astype(np.float32)
        golden.arrays[f"{number}/sigmas"] = np.concatenate([run.sigmas for run in runs]).astype(np.float32)
        golden.arrays[f"{number}/counts"] = np.array([len(run.timesteps) for run in runs], np.uint8)
        golden.arrays[f"{number}/init_noise_sigma"] = np.array([run.init_noise_sigma for run in runs])
        golden.cases.append(case)
    return golden


def _cases() -> Iterator[dict[str, Any]]:
    for (name, config), scheduler, spacing in itertools.product(configs().items(), CLASSES, SPACINGS):
        for karras in KARRAS.get(scheduler, (None,)):
            options = {"timestep_spacing": spacing, "use_karras_sigmas": karras}
            yield {"name": name, "config": config, "scheduler": scheduler, "options": options}
