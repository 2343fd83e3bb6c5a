"""diffusers' schedulers."""

import inspect
import unittest.mock
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

CLASSES = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lms": "LMSDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "dpm++-2m": "DPMSolverMultistepScheduler",
    "dpm++-2m-sde": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}
# unipc's weights are differences of nearly equal numbers, in which f32 leaves up to 2e-2 of a sample to chance.
IN_F64 = ("unipc",)
# What the name of a scheduler says of its configuration.
_ALGORITHMS = {"dpm++-2m": "dpmsolver++", "dpm++-2m-sde": "sde-dpmsolver++"}


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
        samples: The sample after each step that was taken, f32, (steps, *shape).
        scaled: What the network would have been given before each of them, f32, (steps, *shape).
    """

    samples: NDArray[np.float32]
    scaled: NDArray[np.float32]


def create(kind: str, config: Mapping[str, Any], options: Mapping[str, Any]) -> diffusers.SchedulerMixin:
    """The diffusers scheduler that `kind` stands for; options that are None are the configuration's."""
    scheduler_class = getattr(diffusers, CLASSES[kind])
    given = {key: value for key, value in options.items() if value is not None}
    algorithm = {"algorithm_type": _ALGORITHMS[kind]} if kind in _ALGORITHMS else {}
    # torch takes its square roots from MKL, whose last bits depend on the machine, and rescale_betas_zero_snr subtracts
    # two that are nearly equal.
    with unittest.mock.patch.object(torch.Tensor, "sqrt", _rounded_sqrt):
        # Beside the configuration: of one that diffusers has loaded, keys that its file left out are not taken.
        return scheduler_class.from_config(dict(config), **algorithm, **given)


def _rounded_sqrt(tensor: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sqrt(tensor.numpy()))


def build(
    kind: str, config: Mapping[str, Any], num_inference_steps: int, **options: str | bool | None
) -> diffusers.SchedulerMixin:
    """`create`, ready to run."""
    scheduler = create(kind, config, options)
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


def add_noise(
    scheduler: diffusers.SchedulerMixin, original: NDArray[np.float32], noise: NDArray[np.float32], index: int
) -> NDArray[np.float32]:
    """`original`, (1, channels, height, width), under the `noise` that there is before step `index` of a new run."""
    _begin(scheduler, index)
    timestep = scheduler.timesteps[index : index + 1]
    noised: NDArray[np.float32] = scheduler.add_noise(
        torch.from_numpy(original), torch.from_numpy(noise), timestep
    ).numpy()
    return noised


def trajectory(
    scheduler: diffusers.SchedulerMixin,
    outputs: NDArray[np.float32],
    noise: NDArray[np.float32],
    *,
    seed: int,
    eta: float = 0.0,
    begin: int = 0,
    original: NDArray[np.float32] | None = None,
) -> Trajectory:
    """Runs `scheduler` over `outputs`, (steps, *noise.shape), from step `begin` on.

    It starts with `noise`, (1, channels, height, width), scaled, or added to `original` where there is one. Everything
    is computed in f32, but with the classes of `IN_F64` in f64.
    """
    generator = torch.Generator().manual_seed(seed)
    if original is None:
        sample = torch.from_numpy(noise) * scheduler.init_noise_sigma
    else:
        sample = torch.from_numpy(add_noise(scheduler, original, noise, begin))
    dtype = torch.float32
    if type(scheduler).__name__ in {CLASSES[kind] for kind in IN_F64}:
        dtype = torch.float64
        scheduler.sigmas = scheduler.sigmas.to(dtype)
    sample = sample.to(dtype)
    known = inspect.signature(scheduler.step).parameters
    given = {"eta": eta, "generator": generator}
    arguments: dict[str, Any] = {key: value for key, value in given.items() if key in known}
    _begin(scheduler, begin)
    samples, scaled = [], []
    for timestep, output in zip(scheduler.timesteps[begin:], outputs[begin:], strict=True):
        scaled.append(scheduler.scale_model_input(sample, timestep).float().numpy())
        stepped = scheduler.step(torch.from_numpy(output).to(dtype), timestep, sample, **arguments)
        sample = stepped.prev_sample
        samples.append(sample.float().numpy())
    return Trajectory(np.stack(samples), np.stack(scaled))


def _begin(scheduler: diffusers.SchedulerMixin, index: int) -> None:
    if hasattr(scheduler, "set_begin_index"):
        # Else a run whose first two timesteps round to one would begin with the second and end in an IndexError.
        scheduler.set_begin_index(index)
