"""diffusers' StableDiffusionPipeline, StableDiffusionImg2ImgPipeline and StableDiffusionInpaintPipeline."""

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


class Pipeline:
    """A model folder in diffusers layout, computed in f32."""

    def __init__(self, folder: Path) -> None:
        pipeline_class: Any = diffusers.StableDiffusionPipeline
        self._pipeline = pipeline_class.from_pretrained(folder)
        for network in (self._pipeline.text_encoder, self._pipeline.unet, self._pipeline.vae):
            network.float()
        self._pipeline.set_progress_bar_config(disable=True)
        # As the pipeline has mended it: it sets steps_offset to 1 and switches clip_sample off.
        self._config = self._pipeline.scheduler.config

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
        # Only text-to-image can rescale guidance.
        task: dict[str, Any] = {} if guidance_rescale == 0 else {"guidance_rescale": guidance_rescale}
        size = {"height": height, "width": width}
        if image is None:
            pipeline, task = self._pipeline, {**task, **size}
        else:
            # As many as there are generators, so that each draws its own latents.
            task |= {"image": [Image.fromarray(image)] * num_images_per_prompt}
            task |= {} if strength is None else {"strength": strength}
            if mask_image is None:
                pipeline = self._of_class(diffusers.StableDiffusionImg2ImgPipeline)
            else:
                pipeline = self._of_class(diffusers.StableDiffusionInpaintPipeline)
                task |= {"mask_image": [Image.fromarray(mask_image)] * num_images_per_prompt, **size}
        pipeline.scheduler = schedulers.create(scheduler, self._config, options)
        saving = StepSaving(
            pipeline,
            is_guided=guidance_scale > 1,
            guidance=(guidance_start, guidance_end),
            interval=deepcache_interval,
            branch=deepcache_branch,
        )
        with saving:
            drawn = pipeline(
                prompt,
                negative_prompt=negative_prompt,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                num_images_per_prompt=num_images_per_prompt,
                eta=eta,
                generator=[torch.Generator().manual_seed(seed + i) for i in range(num_images_per_prompt)],
                output_type="pil",
                **task,
            )
        return np.stack([np.asarray(image) for image in drawn.images])

    def _of_class(self, pipeline_class: Callable[..., diffusers.DiffusionPipeline]) -> diffusers.DiffusionPipeline:
        pipeline = pipeline_class(**self._pipeline.components, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline
