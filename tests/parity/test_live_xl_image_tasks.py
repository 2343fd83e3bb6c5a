"""Image-to-image and inpainting with SDXL against diffusers' pipelines, live."""

import functools
import math
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import fidelity
import needs_torch  # noqa: F401
from draws import draw, seeds
from image_tasks import random_mask, random_picture
from sd_rbee.backend import native
from tools.goldens.schedules import WITHOUT_SPACING
from tools.goldens.vocabulary import write_folder
from tools.reference import schedulers

pytestmark = pytest.mark.parity

_VOCABULARY = 2 * 256 + 2
_SIZES = ("original_size", "target_size", "negative_original_size", "negative_target_size")
_CROPS = ("crops_coords_top_left", "negative_crops_coords_top_left")


def _text_config(random: Random) -> transformers.CLIPTextConfig:
    return transformers.CLIPTextConfig(
        vocab_size=_VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=random.randint(1, 3),
        num_attention_heads=2,
        max_position_embeddings=16,
        hidden_act=random.choice(("gelu", "quick_gelu")),
        projection_dim=12,
        bos_token_id=_VOCABULARY - 2,
        eos_token_id=_VOCABULARY - 1,
    )


def _write_model(seed: int, folder: Path, in_channels: int) -> Path:
    """A tiny SDXL that diffusers writes itself."""
    random = draw(seed, "xl model")
    torch.manual_seed(seed)
    write_folder(folder / "words", [])
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "words", model_max_length=16)
    pipeline = diffusers.StableDiffusionXLPipeline(
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        text_encoder=transformers.CLIPTextModel(_text_config(random)),
        text_encoder_2=transformers.CLIPTextModelWithProjection(_text_config(random)),
        unet=diffusers.UNet2DConditionModel(
            sample_size=8,
            in_channels=in_channels,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            transformer_layers_per_block=(1, 2),
            attention_head_dim=(1, 2),
            cross_attention_dim=32,
            use_linear_projection=True,
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=12 + 6 * 8,
        ),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            scaling_factor=0.13025,
            force_upcast=random.random() < 0.5,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=random.random() < 0.7,
    )
    pipeline.save_pretrained(folder / "model")
    return folder / "model"


def _sizes(random: Random) -> dict[str, tuple[int, int]]:
    """Some of the sizes that SDXL is told."""
    pairs = {name: (random.randint(1, 2000), random.randint(1, 2000)) for name in _SIZES}
    pairs |= {name: (random.randint(0, 200), random.randint(0, 200)) for name in _CROPS}
    return {name: pair for name, pair in pairs.items() if random.random() < 0.4}


def _randn_f32(randn: Callable[..., torch.Tensor], *shape: object, dtype: torch.dtype, **given: object) -> torch.Tensor:
    """What a pipeline in f32 draws: a generator's f64 values are others."""
    return randn(*shape, dtype=torch.float32, **given).to(dtype)


def _theirs(folder: Path, request: dict[str, Any], scheduler: str, seed: int, images: int) -> list[Any]:
    masked = "mask_image" in request
    pipeline_class: Any = (
        diffusers.StableDiffusionXLInpaintPipeline if masked else diffusers.StableDiffusionXLImg2ImgPipeline
    )
    # In f64: in f32 diffusers itself is up to 60 dB off from that with untrained weights.
    pipeline = pipeline_class.from_pretrained(folder, torch_dtype=torch.float64)
    pipeline.vae.register_to_config(force_upcast=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = schedulers.create(scheduler, pipeline.scheduler.config, {})
    # Each generator draws its own picture's latents.
    pictures = {name: request[name] for name in ("image", "mask_image") if name in request}
    given: dict[str, Any] = {name: [Image.fromarray(values)] * images for name, values in pictures.items()}
    if masked:
        given |= {"height": request["image"].shape[0], "width": request["image"].shape[1]}
    generators = [torch.Generator().manual_seed(seed + index) for index in range(images)]
    with unittest.mock.patch.object(torch, "randn", functools.partial(_randn_f32, torch.randn)):
        made = pipeline(**{**request, **given}, generator=generators, num_images_per_prompt=images)
    return [np.asarray(image) for image in made.images]


def _assert_same_pictures(folder: Path, seed: int, scheduler: str, *, masked: bool, strength: float | None) -> None:
    random = draw(seed, f"xl request {scheduler}")
    height, width = 8 * random.randint(3, 7), 8 * random.randint(3, 7)
    steps = 25 if masked and strength is None else math.ceil(20 / (strength or 0.3)) + random.randint(0, 3)
    if scheduler in WITHOUT_SPACING:
        # As many as were distilled.
        steps = min(steps, 50)
    request: dict[str, Any] = {
        "prompt": "a robot",
        "negative_prompt": random.choice((None, "", "a cat")),
        "prompt_2": random.choice((None, "an owl")),
        "num_inference_steps": steps,
        "guidance_scale": random.choice((1.0, 2.0) if scheduler == "lcm" else (1.0, 3.0)),
        "image": random_picture(seed, height, width),
        **({"mask_image": random_mask(seed, height, width)} if masked else {}),
        **({} if strength is None else {"strength": strength}),
        **_sizes(random),
    }
    ours = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    generator_seed, images = random.getrandbits(32), random.randint(1, 2)
    made = ours.generate(**request, scheduler=scheduler, seed=generator_seed, num_images_per_prompt=images)
    theirs = _theirs(folder, request, scheduler, generator_seed, images)
    for pixels, expected in zip(made.images, theirs, strict=True):
        fidelity.assert_same_picture(np.asarray(pixels), expected)


@pytest.mark.parametrize("scheduler", native.Scheduler.names())
@pytest.mark.parametrize("seed", seeds(1))
def test_image_to_image(seed: int, scheduler: str, tmp_path: Path) -> None:
    seed += native.Scheduler.names().index(scheduler)
    strength = draw(seed, "xl strength").choice((1.0, 0.7, None))
    _assert_same_pictures(_write_model(seed, tmp_path, 4), seed, scheduler, masked=False, strength=strength)


@pytest.mark.parametrize("in_channels", [4, 9])
@pytest.mark.parametrize("scheduler", native.Scheduler.names())
@pytest.mark.parametrize("seed", seeds(1))
def test_inpainting(seed: int, scheduler: str, in_channels: int, tmp_path: Path) -> None:
    seed += native.Scheduler.names().index(scheduler)
    strength = draw(seed, "xl strength").choice((1.0, 0.7, None))
    _assert_same_pictures(_write_model(seed, tmp_path, in_channels), seed, scheduler, masked=True, strength=strength)
