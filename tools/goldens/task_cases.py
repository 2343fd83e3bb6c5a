"""Pictures of every family, task and scheduler, the same for both sides."""

import math
from collections.abc import Mapping
from typing import Any

from tools.goldens.inputs import mask, picture
from tools.random_checkpoint import PRESETS

# By name; each is a preset of tools.random_checkpoint.
MODELS = (
    "tiny",
    "tiny-inpaint",
    "tiny-v2",
    "tiny-v2-inpaint",
    "tiny-turbo",
    "tiny-xl",
    "tiny-xl-inpaint",
    "tiny-xl-turbo",
)
TEXT, IMAGE, INPAINT = "text-to-image", "image-to-image", "inpaint"
# Steps that are taken.
_STEPS = 20
DEFAULTS: dict[str, Any] = {"prompt": "a robot", "guidance_scale": 2.0, "height": 48, "width": 64}
# Of SDXL, beside the sizes that it is told in the place of the picture's own.
_SIZES: dict[str, Any] = {"original_size": (512, 300), "crops_coords_top_left": (16, 240), "target_size": (768, 1024)}
_NEGATIVE_SIZES: dict[str, Any] = {
    "negative_original_size": (64, 65),
    "negative_crops_coords_top_left": (1, 2),
    "negative_target_size": (1024, 1023),
}
_PAIRS = (*_SIZES, *_NEGATIVE_SIZES)

# Model, task, scheduler, and what else is asked for.
_CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("tiny", TEXT, "ddim", {"negative_prompt": "a cat", "eta": 0.5}),
    ("tiny-v2", TEXT, "ddpm", {"prompt": "an owl on a tree"}),
    ("tiny-turbo", TEXT, "euler", {"num_images_per_prompt": 2}),
    ("tiny-xl", TEXT, "euler", {}),
    ("tiny-xl", TEXT, "euler-ancestral", {"negative_prompt": ""}),
    ("tiny-xl-turbo", TEXT, "heun", {"prompt_2": "an owl on a tree"}),
    ("tiny", TEXT, "lms", {"use_karras_sigmas": True}),
    ("tiny-v2", TEXT, "pndm", {}),
    ("tiny-xl", TEXT, "dpm++-2m", {**_SIZES, "num_images_per_prompt": 2}),
    (
        "tiny-xl",
        TEXT,
        "dpm++-2m-sde",
        {"negative_prompt": "a cat", "negative_prompt_2": "a red hat", **_NEGATIVE_SIZES},
    ),
    ("tiny-xl-turbo", TEXT, "unipc", {"negative_original_size": (64, 65), "height": 32, "width": 32}),
    ("tiny-xl", TEXT, "lcm", {"guidance_scale": 1.0}),
    ("tiny-turbo", TEXT, "tcd", {"eta": 0.3}),
    (
        "tiny-v2",
        TEXT,
        "ddim",
        {"guidance_rescale": 0.7, "timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
    ),
    ("tiny", IMAGE, "ddim", {"strength": 0.5}),
    ("tiny-xl", IMAGE, "ddpm", {"strength": 0.7, **_SIZES}),
    ("tiny-v2", IMAGE, "euler", {"strength": 0.8, "num_images_per_prompt": 2}),
    ("tiny-xl", IMAGE, "euler", {}),
    ("tiny-turbo", IMAGE, "euler-ancestral", {"negative_prompt": "a cat", "strength": 0.5}),
    ("tiny-xl", IMAGE, "heun", {"strength": 0.6, "negative_prompt": "a cat", **_NEGATIVE_SIZES}),
    ("tiny-xl-turbo", IMAGE, "lms", {"strength": 1.0}),
    ("tiny", IMAGE, "pndm", {"strength": 0.8}),
    ("tiny-v2", IMAGE, "dpm++-2m", {"strength": 0.6, "height": 64, "width": 40, "timestep_spacing": "linspace"}),
    ("tiny", IMAGE, "dpm++-2m-sde", {}),
    ("tiny-xl", IMAGE, "unipc", {"strength": 0.75, "use_beta_sigmas": True, "num_images_per_prompt": 2}),
    ("tiny-xl-turbo", IMAGE, "lcm", {"strength": 0.5, "guidance_scale": 1.0}),
    ("tiny-xl", IMAGE, "tcd", {"strength": 0.6, "eta": 0.5, "guidance_rescale": 0.5}),
    ("tiny", INPAINT, "ddim", {"strength": 0.75}),
    ("tiny-v2-inpaint", INPAINT, "ddim", {}),
    ("tiny-inpaint", INPAINT, "ddpm", {"strength": 0.9}),
    ("tiny-xl", INPAINT, "euler", {}),
    ("tiny-xl-inpaint", INPAINT, "euler", {}),
    ("tiny-v2", INPAINT, "euler-ancestral", {"strength": 0.8, "negative_prompt": "a cat"}),
    ("tiny-xl-turbo", INPAINT, "heun", {"strength": 1.0}),
    ("tiny-turbo", INPAINT, "lms", {"num_images_per_prompt": 2}),
    ("tiny-inpaint", INPAINT, "pndm", {"num_images_per_prompt": 2}),
    ("tiny-xl-inpaint", INPAINT, "dpm++-2m", {"strength": 0.6, **_SIZES}),
    ("tiny-xl", INPAINT, "dpm++-2m-sde", {"strength": 0.7, "prompt_2": "an owl on a tree", **_NEGATIVE_SIZES}),
    ("tiny-v2-inpaint", INPAINT, "unipc", {"strength": 0.8, "height": 32, "width": 56}),
    ("tiny-xl-inpaint", INPAINT, "lcm", {"strength": 0.8, "guidance_scale": 1.0}),
    ("tiny-turbo", INPAINT, "tcd", {"strength": 0.7, "eta": 0.3}),
    # As these models are made for: few steps, no guidance.
    ("tiny-turbo", TEXT, "euler", {"num_inference_steps": 1, "guidance_scale": 0.0}),
    ("tiny-xl-turbo", TEXT, "euler", {"num_inference_steps": 4, "guidance_scale": 0.0}),
    ("tiny-turbo", IMAGE, "euler", {"num_inference_steps": 4, "strength": 0.5, "guidance_scale": 0.0}),
    ("tiny-xl-turbo", INPAINT, "euler", {"num_inference_steps": 4, "guidance_scale": 0.0}),
)


def default_strength(model: str, task: str) -> float:
    """How much of a picture diffusers' pipelines draw anew where nothing is said."""
    is_xl = PRESETS[model].text_encoder_2 is not None
    if task == INPAINT:
        return 0.9999 if is_xl else 1.0
    return 0.3 if is_xl else 0.8


def cases() -> list[dict[str, Any]]:
    """What each picture is asked for, as JSON can say it; images and masks by the seed that they are drawn from."""
    made = []
    for number, (model, task, scheduler, asked) in enumerate(_CASES):
        case = {"model": model, "task": task, "scheduler": scheduler, **DEFAULTS, "seed": 100 + 10 * number, **asked}
        strength = 1.0 if task == TEXT else case.get("strength") or default_strength(model, task)
        made.append({"num_inference_steps": math.ceil(_STEPS / strength), **case})
    return made


def arguments(case: Mapping[str, Any]) -> dict[str, Any]:
    """What `generate` is given for a case."""
    given = {name: value for name, value in case.items() if name not in ("model", "task")}
    given |= {name: tuple(given[name]) for name in _PAIRS if name in given}
    size = (case["height"], case["width"])
    if case["task"] != TEXT:
        given["image"] = picture(case["seed"], *size)
    if case["task"] == INPAINT:
        given["mask_image"] = mask(case["seed"], *size)
    return given
