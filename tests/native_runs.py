"""The native engine from numpy to numpy, as `tools.reference` has PyTorch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sd_rbee.backend import native


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run on model outputs that were fixed beforehand.

    Attributes:
        samples: The sample after each step that was taken, f32, (steps, *shape).
        scaled: What the network would have been given before each of them, f32, (steps, *shape).
    """

    samples: NDArray[np.float32]
    scaled: NDArray[np.float32]


def trajectory(
    scheduler: native.Scheduler,
    outputs: NDArray[np.float32],
    noise: NDArray[np.float32],
    *,
    seed: int,
    begin: int = 0,
    original: NDArray[np.float32] | None = None,
) -> Trajectory:
    """Runs `scheduler` over `outputs`, (steps, *noise.shape), from step `begin` on.

    It starts with `noise`, (1, channels, height, width), scaled, or added to `original` where there is one.
    """
    generator = native.Generator(seed)
    if original is None:
        sample = noise * np.float32(scheduler.init_noise_sigma)
    else:
        sample = np.asarray(scheduler.add_noise(original.data, noise.data, begin))
    samples, scaled = [], []
    for index, output in list(enumerate(outputs))[begin:]:
        scaled.append(np.asarray(scheduler.scale_model_input(sample.data, index)))
        sample = np.asarray(scheduler.step(output.data, index, sample.data, generator))
        samples.append(sample)
    return Trajectory(np.stack(samples), np.stack(scaled))
