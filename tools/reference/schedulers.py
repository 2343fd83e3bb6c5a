"""diffusers' schedulers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

CLASSES = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "dpm++-2m": "DPMSolverMultistepScheduler",
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """The numbers of one run.

    Attributes:
        timesteps: As the network takes them, f64.
        sigmas: One more than timesteps, f64; empty for schedulers without.
        init_noise_sigma: The scale of the first noise.
    """

    timesteps: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    init_noise_sigma: float


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run on model outputs that were fixed beforehand.

    Attributes:
        samples: The sample after each step, f32, (steps, *shape).
        scaled: What the network would have been given before each step, f32, (steps, *shape).
    """

    samples: NDArray[np.float32]
    scaled: NDArray[np.float32]


def options(timestep_spacing: str | None, use_karras_sigmas: bool | None) -> dict[str, Any]:
    """The options that are given, as keys of a scheduler's configuration."""
    given = {"timestep_spacing": timestep_spacing, "use_karras_sigmas": use_karras_sigmas}
    return {key: value for key, value in given.items() if value is not None}


def build(
    kind: str,
    config: Mapping[str, Any],
    num_inference_steps: int,
    *,
    timestep_spacing: str | None = None,
    use_karras_sigmas: bool | None = None,
) -> diffusers.SchedulerMixin:
    """The diffusers scheduler that `kind` stands for, ready to run."""
    scheduler_class = getattr(diffusers, CLASSES[kind])
    scheduler = scheduler_class.from_config({**config, **options(timestep_spacing, use_karras_sigmas)})
    scheduler.set_timesteps(num_inference_steps)
    return scheduler


def schedule(scheduler: diffusers.SchedulerMixin) -> Schedule:
    """What a scheduler has computed for its run."""
    sigmas = getattr(scheduler, "sigmas", torch.empty(0))
    # With interpolation_type log_linear diffusers has one more at the end, which no step reaches.
    reached = sigmas[: len(scheduler.timesteps) + 1]
    return Schedule(
        timesteps=scheduler.timesteps.double().numpy(),
        sigmas=reached.double().numpy(),
        init_noise_sigma=float(scheduler.init_noise_sigma),
    )


def trajectory(
    scheduler: diffusers.SchedulerMixin,
    outputs: NDArray[np.float32],
    noise: NDArray[np.float32],
    *,
    seed: int,
    eta: float = 0.0,
) -> Trajectory:
    """Runs `scheduler` from scaled `noise`, (1, channels, height, width), over `outputs`, (steps, *noise.shape)."""
    generator = torch.Generator().manual_seed(seed)
    sample = torch.from_numpy(noise) * scheduler.init_noise_sigma
    arguments: dict[str, Any] = {"eta": eta} if isinstance(scheduler, diffusers.DDIMScheduler) else {}
    if hasattr(scheduler, "set_begin_index"):
        # Else a run whose first two timesteps round to one would begin with the second and end in an IndexError.
        scheduler.set_begin_index(0)
    samples, scaled = [], []
    for timestep, output in zip(scheduler.timesteps, outputs, strict=True):
        scaled.append(scheduler.scale_model_input(sample, timestep).numpy())
        stepped = scheduler.step(torch.from_numpy(output), timestep, sample, generator=generator, **arguments)
        sample = stepped.prev_sample
        samples.append(sample.numpy())
    return Trajectory(np.stack(samples), np.stack(scaled))
