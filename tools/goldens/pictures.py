"""Whole pictures of the embedded model, of every scheduler."""

from typing import Any

from sd_rbee import models
from tools.goldens.digest import digest
from tools.goldens.rows import differences
from tools.goldens.store import Golden
from tools.reference.pipeline import Pipeline

DEFAULTS: dict[str, Any] = {
    "num_inference_steps": 20,
    "guidance_scale": 3.5,
    "height": 128,
    "width": 128,
}
SMALL: dict[str, Any] = {"height": 64, "width": 64}
CASES: tuple[dict[str, Any], ...] = (
    {"prompt": "a robot", "scheduler": "ddim", "seed": 7},
    {"prompt": "a red apple", "scheduler": "ddim", "seed": 8, "eta": 0.7},
    {"prompt": "a guitar", "scheduler": "euler", "seed": 9, "negative_prompt": "blue"},
    {"prompt": "a cat", "scheduler": "euler", "seed": 10, "use_karras_sigmas": True, "num_images_per_prompt": 2},
    {"prompt": "a rocket", "scheduler": "euler-ancestral", "seed": 11, "timestep_spacing": "linspace"},
    {"prompt": "a green dragon", "scheduler": "dpm++-2m", "seed": 2**64 - 1},
    {"prompt": "a house", "scheduler": "dpm++-2m", "seed": 12, "use_karras_sigmas": True, "num_inference_steps": 25},
    {"prompt": "a flower", "scheduler": "ddim", "seed": 13, "height": 96, "width": 160, "guidance_scale": 1.0},
    {"prompt": "an owl", "scheduler": "ddim", "seed": 15, "guidance_scale": 9.0, "guidance_rescale": 0.7, **SMALL},
    {"prompt": "an owl", "scheduler": "ddim", "seed": 16, "rescale_betas_zero_snr": True, **SMALL},
    {"prompt": "a bee", "scheduler": "ddpm", "seed": 17, **SMALL},
    {"prompt": "a bee", "scheduler": "heun", "seed": 18, "use_exponential_sigmas": True, **SMALL},
    {"prompt": "a bee", "scheduler": "lms", "seed": 19, **SMALL},
    {"prompt": "a bee", "scheduler": "pndm", "seed": 20, **SMALL},
    {"prompt": "a bee", "scheduler": "dpm++-2m-sde", "seed": 21, **SMALL},
    {"prompt": "a bee", "scheduler": "unipc", "seed": 22, "use_beta_sigmas": True, **SMALL},
    {"prompt": "a bee", "scheduler": "lcm", "seed": 23, **SMALL},
    {"prompt": "a bee", "scheduler": "tcd", "seed": 24, "eta": 0.3, **SMALL},
    {"prompt": "a boat", "scheduler": "ddim", "seed": 15, "guidance_start": 0.2, "guidance_end": 0.6},
    {"prompt": "a lemon", "scheduler": "dpm++-2m", "seed": 16, "deepcache_interval": 3},
    {
        "prompt": "an owl",
        "scheduler": "euler",
        "seed": 17,
        "guidance_start": 0.3,
        "guidance_end": 0.7,
        "deepcache_interval": 2,
        "deepcache_branch": 4,
        "num_images_per_prompt": 2,
    },
    {
        "prompt": "a bee",
        "scheduler": "heun",
        "seed": 25,
        "guidance_rescale": 0.7,
        "guidance_start": 0.2,
        "guidance_end": 0.7,
        "deepcache_interval": 3,
        **SMALL,
    },
    {"prompt": "\u732b \U0001f916 <|endoftext|>", "scheduler": "ddim", "seed": 14, "timestep_spacing": "leading"},
)


def make() -> Golden:
    """Each case is one call; its array holds the pictures, packed by `differences`."""
    folder = models.resolve("pollen")
    pipeline = Pipeline(folder)
    golden = Golden([], facts={"pollen": digest(folder)})
    for number, case in enumerate(CASES):
        arguments = {**DEFAULTS, **case}
        golden.arrays[str(number)] = differences(pipeline.generate(**arguments))
        golden.cases.append(arguments)
    return golden
