"""`python -m benches.step_saving`: what the options that compute less save, and how far their pictures are off.

Each option draws the same pictures in turns with the full computation, in one process.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benches import models
from sd_rbee.backend import native
from tools.metrics import psnr
from tools.random_checkpoint import PRESETS, TinyVaeConfig, VaeConfig, write_checkpoint, write_vae

PROMPTS = ("a robot", "a red apple", "an owl", "a guitar")
OPTIONS: dict[str, dict[str, Any]] = {
    "guidance_end 0.8": {"guidance_end": 0.8},
    "guidance_end 0.6": {"guidance_end": 0.6},
    "guidance_start 0.2, guidance_end 0.8": {"guidance_start": 0.2, "guidance_end": 0.8},
    "deepcache_interval 2": {"deepcache_interval": 2},
    "deepcache_interval 3": {"deepcache_interval": 3},
    "deepcache_interval 5": {"deepcache_interval": 5},
    "deepcache_interval 3, deepcache_branch 2": {"deepcache_interval": 3, "deepcache_branch": 2},
    "deepcache_interval 3, guidance_end 0.6": {"deepcache_interval": 3, "guidance_end": 0.6},
}


class Saving(NamedTuple):
    """What one option does to the denoising of one picture.

    Attributes:
        times: How many times as fast it is.
        psnr: Decibels between its picture and the full one.
    """

    times: float
    psnr: float


def measure(pipeline: native.Pipeline, option: dict[str, Any], prompts: Sequence[str], **common: Any) -> list[Saving]:  # noqa: ANN401 - the engine's own parameters
    """One saving for a prompt; option and full computation take turns."""
    savings = []
    for seed, prompt in enumerate(prompts):
        (full, slow), (pixels, fast) = (_draw(pipeline, prompt, seed=seed, **common, **more) for more in ({}, option))
        savings.append(Saving(slow / fast, psnr(pixels, full)))
    return savings


def step_costs(pipeline: native.Pipeline, **common: Any) -> dict[str, float]:  # noqa: ANN401 - the engine's own parameters
    """What kinds of steps take, as shares of a full one: the shortest of their kind, which others disturbed least."""
    full = min(_step_times(pipeline, num_inference_steps=3, **common))
    spared: dict[str, dict[str, Any]] = {
        "without guidance": {"guidance_end": 0.25},
        "deepcache_branch 0": {"deepcache_interval": 4},
        "deepcache_branch 2": {"deepcache_interval": 4, "deepcache_branch": 2},
        "without guidance, deepcache_branch 0": {"guidance_end": 0.25, "deepcache_interval": 4},
    }
    # The first of the four is the full one.
    return {
        name: min(_step_times(pipeline, num_inference_steps=4, **option, **common)[1:]) / full
        for name, option in spared.items()
    }


def _step_times(pipeline: native.Pipeline, **parameters: Any) -> list[float]:  # noqa: ANN401
    times: list[float] = []

    def on_step(step: native.Step) -> None:
        if step.phase in ("prepare", "denoise"):
            times.append(step.elapsed)

    pipeline.generate(PROMPTS[0], seed=0, on_step=on_step, **parameters)
    return [after - before for before, after in itertools.pairwise(times)]


def decode_times(side: int, rounds: int) -> list[float]:
    """How many times as fast TAESD's shape decodes a picture as v1-5's `AutoencoderKL`, round for round."""
    with tempfile.TemporaryDirectory() as path:
        # Whose latents have as many channels; its own networks are not used.
        model = str(write_checkpoint(PRESETS["tiny"], Path(path) / "model"))
        folders = [write_vae(config, Path(path) / type(config).__name__) for config in (VaeConfig(), TinyVaeConfig())]
        pipelines = [native.Pipeline.load(model, vae=str(folder), dtype="f32") for folder in folders]
        latents = native.Generator(0).randn([1, 4, side // 8, side // 8])
        for pipeline in pipelines:
            pipeline.vae_decode(latents)
        seconds = [[_seconds(pipeline, latents) for pipeline in pipelines] for _ in range(rounds)]
    return [kl / tiny for kl, tiny in seconds]


def turbo_times(cache: Path, side: int, rounds: int) -> list[dict[str, float]]:
    """Seconds by phase of pictures in one step, of SD-Turbo's shape with TAESD's decoder."""
    model = models.resolve("v2-1", cache, 1)
    with tempfile.TemporaryDirectory() as path:
        taesd = write_vae(TinyVaeConfig(), Path(path) / "taesd")
        pipeline = native.Pipeline.load(str(model.folder), vae=str(taesd))
    recipe: dict[str, Any] = {
        "num_inference_steps": 1,
        "guidance_scale": 0.0,
        "scheduler": "euler",
        "timestep_spacing": "trailing",
    }
    draw = partial(pipeline.generate, PROMPTS[0], height=side, width=side, **recipe)
    draw(seed=0)
    return [draw(seed=seed).timings for seed in range(1, rounds + 1)]


def _seconds(pipeline: native.Pipeline, latents: native.Tensor) -> float:
    begun = time.perf_counter()
    pipeline.vae_decode(latents)
    return time.perf_counter() - begun


def _draw(pipeline: native.Pipeline, prompt: str, **parameters: Any) -> tuple[NDArray[np.uint8], float]:  # noqa: ANN401
    made = pipeline.generate(prompt, **parameters)
    return np.asarray(made.images[0]), made.timings["denoise"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.step_saving", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="pollen", help="as of `python -m benches`; default: %(default)s")
    parser.add_argument("--cache", type=Path, default=models.default_cache(), help="where random weights are kept")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps; default: %(default)s")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="pictures an option; default: %(default)s")
    parser.add_argument("--size", type=int, help="height and width; the model's own if left out")
    parser.add_argument("--costs", action="store_true", help="time single steps of each kind instead")
    parser.add_argument("--decode", action="store_true", help="time AutoencoderTiny against AutoencoderKL instead")
    parser.add_argument("--turbo", action="store_true", help="time pictures in one step of SD-Turbo's shape instead")
    arguments = parser.parse_args()
    if arguments.turbo:
        side = arguments.size or 512
        rounds = turbo_times(arguments.cache, side, arguments.prompts)
        phases = {phase: statistics.median(timings[phase] for timings in rounds) for phase in rounds[0]}
        print(f"{side} x {side} in one step:", ", ".join(f"{phase} {time:.2f} s" for phase, time in phases.items()))
        return
    if arguments.decode:
        side = arguments.size or 512
        times = decode_times(side, arguments.prompts)
        print(f"decode of {side} x {side}, f32: {statistics.median(times):.1f} times as fast", end=" ")
        print(f"({min(times):.1f} to {max(times):.1f})")
        return
    model = models.resolve(arguments.model, arguments.cache, arguments.steps)
    pipeline = native.Pipeline.load(str(model.folder))
    sides = {"height": arguments.size, "width": arguments.size}
    if arguments.costs:
        for kind, share in step_costs(pipeline, **sides).items():
            print(f"{kind:45} {share:5.2f} of a full step", flush=True)
        return
    common = {"num_inference_steps": arguments.steps, **sides}
    measure(pipeline, {}, PROMPTS[:1], **common)
    print(f"{arguments.model}, {arguments.steps} steps, {pipeline.dtype} on {pipeline.device}")
    for name, option in OPTIONS.items():
        savings = measure(pipeline, option, PROMPTS[: arguments.prompts], **common)
        times, psnr = ([getattr(saving, field) for saving in savings] for field in Saving._fields)
        print(
            f"{name:45} {statistics.median(times):5.2f} times as fast, PSNR {statistics.median(psnr):5.1f} dB"
            f" ({min(psnr):.1f} to {max(psnr):.1f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
