"""What is computed of each model."""

from typing import Any

from tools.goldens.inputs import mask, picture
from tools.random_checkpoint import CheckpointConfig

# Sides of the small latents: a quarter of SDXL's own, half of v1-5's.
_SIDE = 32
_PROMPT = "a robot beside a red bicycle, oil on canvas"
_SEED = 1
_TIME_IDS = (1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0)
# Pixels to a latent, along a side.
_FACTOR = 8

# The last ones are at the model's own size, which takes minutes and much memory.
PARTS = ("text", "pooled", "unet", "decode", "encode", "unet-own", "decode-own", "encode-own")
DEFAULT_PARTS = ("text", "pooled", "unet", "decode", "encode")
PICTURES = ("text-to-image", "image-to-image", "inpaint")
# Steps that are taken, and how much of a picture that is drawn over is drawn anew.
_STEPS = 20
_STRENGTH = 0.8
# With random weights, more than a little guidance drives a picture into black and white.
_GUIDANCE = 2.0


def case(config: CheckpointConfig, part: str) -> dict[str, Any] | None:
    """The case of `tools.goldens.network_cases` that `part` is; None of a model that has no such part."""
    unet, vae = config.unet, config.vae
    side = unet.sample_size if part.endswith("-own") else _SIDE
    match part.removesuffix("-own"):
        case "text":
            return {"part": "text_encoder", "text": _PROMPT, "seed": _SEED}
        case "pooled":
            return None if config.text_encoder_2 is None else {"part": "pooled_prompt", "text": _PROMPT, "seed": _SEED}
        case "unet":
            window = config.text_encoder.max_position_embeddings
            made: dict[str, Any] = {"part": "unet", "timestep": 500.0, "seed": _SEED}
            made |= {"shape": [1, unet.in_channels, side, side], "text_shape": [1, window, unet.cross_attention_dim]}
            if config.text_encoder_2 is not None:
                made |= {"pooled_shape": [1, config.text_encoder_2.projection_dim], "time_ids": [_TIME_IDS]}
            return made
        case "decode":
            return {"part": "vae_decode", "shape": [1, vae.latent_channels, side, side], "seed": _SEED}
        case "encode":
            pixels = _FACTOR * side
            return {"part": "vae_encode", "shape": [1, 3, pixels, pixels], "noise_seed": None, "seed": _SEED}
    raise ValueError(f"part: got {part!r}, allowed are {', '.join(PARTS)}")


def arguments(config: CheckpointConfig, task: str) -> dict[str, Any]:
    """What `generate` is given for a picture."""
    side = _FACTOR * _SIDE
    asked: dict[str, Any] = {
        "prompt": _PROMPT,
        "seed": _SEED,
        "height": side,
        "width": side,
        "guidance_scale": _GUIDANCE,
        "num_inference_steps": _STEPS,
        "scheduler": "ddim" if config.text_encoder_2 is None else "euler",
    }
    if task != "text-to-image":
        asked |= {"image": picture(_SEED, side, side), "strength": _STRENGTH}
        asked["num_inference_steps"] = round(_STEPS / _STRENGTH)
    if task == "inpaint":
        asked["mask_image"] = mask(_SEED, side, side)
    return asked
