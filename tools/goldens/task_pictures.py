"""Whole pictures of tiny models of every family, for every task and scheduler."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.goldens.checkpoints import mean_magnitude
from tools.goldens.rows import differences
from tools.goldens.store import Golden
from tools.goldens.task_cases import MODELS, arguments, cases
from tools.metrics import psnr
from tools.random_checkpoint import PRESETS, write_checkpoint
from tools.reference.pipeline import Pipeline

# What a picture must have for a difference of the networks, the schedule or the inputs to be seen in it, and for f32's
# rounding not to be: its standard deviation, how many of its values lie at the ends, and decibels from the one in f64.
_LEAST_DEVIATION = 30.0
_MOST_CLIPPED = 0.2
_LEAST_PSNR = 70.0


def make() -> Golden:
    """Each case is one call; its array holds the pictures, packed by `differences`."""
    golden = Golden([], facts={"mean_magnitude": {}})
    made = cases()
    with tempfile.TemporaryDirectory() as path:
        pipelines = {}
        for name in MODELS:
            folder = write_checkpoint(PRESETS[name], Path(path) / name)
            golden.facts["mean_magnitude"][name] = mean_magnitude(folder, PRESETS[name])
            pipelines[name] = Pipeline(folder), Pipeline(folder, is_double=True)
        for number, case in enumerate(made):
            pixels, in_f64 = (pipeline.generate(**arguments(case)) for pipeline in pipelines[case["model"]])
            _check(pixels, in_f64, case)
            golden.arrays[str(number)] = differences(pixels)
            golden.cases.append(case)
    return golden


def _check(pixels: NDArray[np.uint8], in_f64: NDArray[np.uint8], case: dict[str, Any]) -> None:
    deviation, clipped = float(pixels.std()), float(np.mean((pixels == 0) | (pixels == 255)))
    from_f64 = psnr(pixels, in_f64)
    if deviation < _LEAST_DEVIATION or clipped > _MOST_CLIPPED or from_f64 < _LEAST_PSNR:
        raise ValueError(
            f"{case}: a standard deviation of {deviation:.0f} with {clipped:.0%} clipped, {from_f64:.0f} dB from f64,"
            " shows no difference or is one: choose another seed, prompt or guidance"
        )
