"""What a picture says about how it was drawn: our JSON, exact, and the text that AUTOMATIC1111's webui reads."""

import json
from collections.abc import Mapping
from typing import Any

# The webui's own names; a scheduler that it lacks goes by ours.
_SAMPLERS = {
    "ddim": "DDIM",
    "euler": "Euler",
    "euler-ancestral": "Euler a",
    "heun": "Heun",
    "lms": "LMS",
    "pndm": "PLMS",
    "dpm++-2m": "DPM++ 2M",
    "dpm++-2m-sde": "DPM++ 2M SDE",
    "unipc": "UniPC",
    "lcm": "LCM",
}
_SCHEDULE_TYPES = {
    "use_karras_sigmas": "Karras",
    "use_exponential_sigmas": "Exponential",
    "use_beta_sigmas": "Beta",
}


def recipe(parameters: Mapping[str, Any], *, seed: int, image: int) -> dict[str, Any]:
    """All that is needed to draw one picture of a generation again.

    Args:
        parameters: The generation's parameters, every default filled in.
        seed: This picture's own seed: drawn alone with it, the picture is the same.
        image: Index of the picture in its generation, from 0.
    """
    return {**parameters, "seed": seed, "image": image}


def to_json(recipe: Mapping[str, Any]) -> str:
    """The recipe as one line of ASCII JSON."""
    return json.dumps(dict(recipe), allow_nan=False)


def to_infotext(recipe: Mapping[str, Any]) -> str:
    """The recipe in the webui's form: prompt, `Negative prompt:` if there is one, a last line of settings."""
    settings: dict[str, object] = {
        "Steps": recipe["num_inference_steps"],
        "Sampler": _SAMPLERS.get(recipe["scheduler"], recipe["scheduler"]),
        "Schedule type": next((name for key, name in _SCHEDULE_TYPES.items() if recipe[key]), None),
        "CFG scale": _number(recipe["guidance_scale"]),
        "Seed": recipe["seed"],
        "Size": f"{recipe['width']}x{recipe['height']}",
        "Model": recipe["model"],
        "VAE": recipe["vae"],
        "Eta": _number(recipe["eta"]) if recipe["eta"] else None,
        "Skip Early CFG": _changed(recipe["guidance_start"], 0.0),
        "Guidance end": _changed(recipe["guidance_end"], 1.0),
        "DeepCache interval": _changed(recipe["deepcache_interval"], 1),
        "DeepCache branch": _changed(recipe["deepcache_branch"], 0),
        # The webui counts from 1.
        "Clip skip": None if (skip := recipe["clip_skip"]) is None else skip + 1,
        "Denoising strength": None if (strength := recipe.get("strength")) is None else _number(strength),
        "Mask blur": _number(blur) if (blur := recipe.get("mask_blur")) else None,
        "Inpaint area": None if recipe.get("padding_mask_crop") is None else "Only masked",
        "Masked area padding": recipe.get("padding_mask_crop"),
        "RNG": "CPU",
        "Version": f"sd-rbee {recipe['version']}",
    }
    last = ", ".join(f"{key}: {_quote(str(value))}" for key, value in settings.items() if value is not None)
    negative = f"\nNegative prompt: {recipe['negative_prompt']}" if recipe["negative_prompt"] else ""
    # Neither PNG text nor EXIF may hold NUL.
    return f"{recipe['prompt']}{negative}\n{last}".replace("\0", "\ufffd")


def _changed(value: float, usual: float) -> str | None:
    return None if value == usual else _number(value)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text
