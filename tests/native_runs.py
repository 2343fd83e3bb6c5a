"""The native engine from numpy to numpy, as `tools.reference` has PyTorch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sd_rbee.backend import native


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run on model outputs that were fixed beforehand.

    Attributes:
        samples: The sample after each step, f32, (steps, *shape).
        scaled: What the network would have been given before each step, f32, (steps, *shape).
    """

    samples: NDArray[np.float32]
    scaled: NDArray[np.float32]


def trajectory(
    scheduler: native.Scheduler, outputs: NDArray[np.float32], noise: NDArray[np.float32], *, seed: int
) -> Trajectory:
    """Runs `scheduler` from scaled `noise`, (1, channels, height, width), over `outputs`, (steps, *noise.shape)."""
    generator = native.Generator(seed)
    sample = noise * np.float32(scheduler.init_noise_sigma)
    samples, scaled = [], []
    for index, output in enumerate(outputs):
        scaled.append(np.asarray(scheduler.scale_model_input(sample.data, index)))
        sample = np.asarray(scheduler.step(output.data, index, sample.data, generator))
        samples.append(sample)
    return Trajectory(np.stack(samples), np.stack(scaled))
