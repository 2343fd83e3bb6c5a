"""diffusers' StableDiffusionPipeline."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

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
        num_images_per_prompt: int = 1,
        guidance_rescale: float = 0.0,
        eta: float = 0.0,
        guidance_start: float = 0.0,
        guidance_end: float = 1.0,
        deepcache_interval: int = 1,
        deepcache_branch: int = 0,
        **options: str | bool | None,
    ) -> NDArray[np.uint8]:
        """Pictures (images, height, width, 3), each with a generator of its own: image i is that of seed + i."""
        self._pipeline.scheduler = schedulers.create(scheduler, self._config, options)
        saving = StepSaving(
            self._pipeline,
            is_guided=guidance_scale > 1,
            guidance=(guidance_start, guidance_end),
            interval=deepcache_interval,
            branch=deepcache_branch,
        )
        with saving:
            drawn = self._pipeline(
                prompt,
                negative_prompt=negative_prompt,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                height=height,
                width=width,
                num_images_per_prompt=num_images_per_prompt,
                eta=eta,
                generator=[torch.Generator().manual_seed(seed + i) for i in range(num_images_per_prompt)],
                output_type="pil",
            )
        return np.stack([np.asarray(image) for image in drawn.images])
