"""Pictures as stable-diffusion.cpp draws them: its package has no step and no decode to call by itself."""

import importlib
import json
from pathlib import Path
from typing import Any

from benches.engines import PROMPT, SEED
from benches.parts import Part, Parts, Task
from benches.sdcpp_conversion import converted

stable_diffusion_cpp: Any = importlib.import_module("stable_diffusion_cpp")


def model(task: Task) -> Any:  # noqa: ANN401
    """The model, its attention computed in blocks, which is the faster of its two ways."""
    return stable_diffusion_cpp.StableDiffusion(
        model_path=str(converted(task.folder, task.cache)),
        n_threads=task.threads,
        rng_type="cpu",
        sampler_rng_type="cpu",
        vae_decode_only=True,
        diffusion_flash_attn=True,
        verbose=False,
    )


def draw(loaded: Any, task: Task) -> Any:  # noqa: ANN401
    """An RGB image of PIL's, by Euler's method: it has no DDIM of this spacing, and one takes as long as the other."""
    side = _pixels(task.folder)
    (image,) = loaded.generate_image(
        prompt=PROMPT,
        width=side,
        height=side,
        cfg_scale=task.guidance,
        sample_method="euler",
        sample_steps=task.steps,
        seed=SEED,
    )
    return image.convert("RGB")


def load(task: Task) -> Parts:
    loaded = model(task)
    return {"picture": Part(lambda: draw(loaded, task), lambda image: bytes(image.tobytes()))}


def _pixels(folder: Path) -> int:
    """Sides of the model's own pictures."""
    unet, vae = (json.loads((folder / name / "config.json").read_text(encoding="utf-8")) for name in ("unet", "vae"))
    return int(unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1))
