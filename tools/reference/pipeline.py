"""diffusers' pipelines of Stable Diffusion and SDXL, each for text-to-image, image-to-image and inpainting."""

import functools
import json
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tools.reference import schedulers
from tools.reference.step_saving import StepSaving

_CLASSES: dict[bool, dict[str, Any]] = {
    False: {
        "text-to-image": diffusers.StableDiffusionPipeline,
        "image-to-image": diffusers.StableDiffusionImg2ImgPipeline,
        "inpaint": diffusers.StableDiffusionInpaintPipeline,
    },
    True: {
        "text-to-image": diffusers.StableDiffusionXLPipeline,
        "image-to-image": diffusers.StableDiffusionXLImg2ImgPipeline,
        "inpaint": diffusers.StableDiffusionXLInpaintPipeline,
    },
}


class Pipeline:
    """A model folder in diffusers layout, computed in f32 or, to see what f32 rounds away, in f64."""

    def __init__(self, folder: Path, *, is_double: bool = False) -> None:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        self._is_xl = "text_encoder_2" in index
        # Whatever the UNet takes, this class loads it.
        loaded = _CLASSES[self._is_xl]["text-to-image"].from_pretrained(folder)
        self._components: dict[str, Any] = loaded.components
        for network in self._components.values():
            if isinstance(network, torch.nn.Module):
                network.double() if is_double else network.float()
        # diffusers reads clip_skip's layers through a name that transformers 5 has dropped.
        encoder = self._components["text_encoder"]
        if not hasattr(encoder, "text_model"):
            vars(encoder)["text_model"] = encoder
        own = "force_zeros_for_empty_prompt" if self._is_xl else "requires_safety_checker"
        self._own = {own: index[own]}
        # What SDXL's pipelines would take a VAE in f64 to f32 for.
        self._components["vae"].register_to_config(force_upcast=False)
        # As the pipeline has mended it: Stable Diffusion's sets steps_offset to 1 and switches clip_sample off.
        self._config = loaded.scheduler.config

    def generate(
        self,
        prompt: str,
        *,
        num_inference_steps: int,
        guidance_scale: float,
        height: int,
        width: int,
        seed: int,
        scheduler: str,
        negative_prompt: str | None = None,
        image: NDArray[np.uint8] | None = None,
        mask_image: NDArray[np.uint8] | None = None,
        strength: float | None = None,
        padding_mask_crop: int | None = None,
        prompt_2: str | None = None,
        negative_prompt_2: str | None = None,
        original_size: tuple[int, int] | None = None,
        crops_coords_top_left: tuple[int, int] | None = None,
        target_size: tuple[int, int] | None = None,
        negative_original_size: tuple[int, int] | None = None,
        negative_crops_coords_top_left: tuple[int, int] | None = None,
        negative_target_size: tuple[int, int] | None = None,
        clip_skip: int | None = None,
        num_images_per_prompt: int = 1,
        guidance_rescale: float = 0.0,
        eta: float = 0.0,
        guidance_start: float = 0.0,
        guidance_end: float = 1.0,
        deepcache_interval: int = 1,
        deepcache_branch: int = 0,
        **options: str | bool | None,
    ) -> NDArray[np.uint8]:
        """Pictures (images, height, width, 3), each with a generator of its own: image i is that of seed + i.

        With an `image` (height, width, 3) it is drawn over, with a `mask_image` (height, width) where that is white.
        """
        # Not every pipeline knows all of these: what is not given is not passed on.
        asked: dict[str, Any] = {
            "negative_prompt": negative_prompt,
            "strength": strength,
            "prompt_2": prompt_2,
            "negative_prompt_2": negative_prompt_2,
            "original_size": original_size,
            "crops_coords_top_left": crops_coords_top_left,
            "target_size": target_size,
            "negative_original_size": negative_original_size,
            "negative_crops_coords_top_left": negative_crops_coords_top_left,
            "negative_target_size": negative_target_size,
            "clip_skip": clip_skip,
            "guidance_rescale": guidance_rescale or None,
            # As many as there are generators, so that each draws its own latents.
            "image": None if image is None else [Image.fromarray(image)] * num_images_per_prompt,
            "mask_image": None if mask_image is None else [Image.fromarray(mask_image)] * num_images_per_prompt,
        }
        task = "text-to-image" if image is None else "image-to-image" if mask_image is None else "inpaint"
        if task != "image-to-image":
            asked |= {"height": height, "width": width}
        if padding_mask_crop is not None:
            # Of lists it cannot find the part to crop to.
            (asked["image"],), (asked["mask_image"],) = asked["image"], asked["mask_image"]
            asked["padding_mask_crop"] = padding_mask_crop
        pipeline = _CLASSES[self._is_xl][task](**{**self._components, **self._own})
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = schedulers.create(scheduler, self._config, options)
        saving = StepSaving(
            pipeline,
            is_guided=guidance_scale > 1,
            guidance=(guidance_start, guidance_end),
            interval=deepcache_interval,
            branch=deepcache_branch,
        )
        with saving, unittest.mock.patch.object(torch, "randn", functools.partial(_randn, torch.randn)):
            drawn = pipeline(
                prompt,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                num_images_per_prompt=num_images_per_prompt,
                eta=eta,
                generator=[torch.Generator().manual_seed(seed + i) for i in range(num_images_per_prompt)],
                output_type="pil",
                **{name: value for name, value in asked.items() if value is not None},
            )
        return np.stack([np.asarray(image) for image in drawn.images])


def _randn(
    randn: Callable[..., torch.Tensor],
    *shape: Any,  # noqa: ANN401
    dtype: torch.dtype | None = None,
    **options: Any,  # noqa: ANN401
) -> torch.Tensor:
    """`torch.randn` that draws in f32 whatever it is to be: a generator's f64 values are others."""
    return randn(*shape, dtype=torch.float32, **options).to(dtype)
