"""The networks' shapes, made anew or read whole from a diffusers folder."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tools.pollen.errors import RecipeError
from tools.pollen.scenes import SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.pollen.kinds import Scheduler, TextEncoder, Tokenizer, Unet, Vae

# Imported by name: neither library's annotations describe what it exports, and `kinds` does.
diffusers = importlib.import_module("diffusers")
transformers = importlib.import_module("transformers")
# Their bars would tear the stages' own lines apart.
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()

LATENT_CHANNELS = 8
FACTOR = 8
TEXT_WIDTH = 128
# Latents are whitened to a standard deviation of 2; times this factor the UNet sees unit variance.
SCALING = 0.5


def new_vae() -> Vae:
    made: Vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        sample_size=SIZE,
        scaling_factor=SCALING,
    )
    return made


def new_unet(channels: tuple[int, int, int]) -> Unet:
    made: Unet = diffusers.UNet2DConditionModel(
        sample_size=SIZE // FACTOR,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        # diffusers reads this one as the number of heads.
        attention_head_dim=4,
        cross_attention_dim=TEXT_WIDTH,
    )
    return made


def new_text_encoder(tokenizer: Tokenizer) -> TextEncoder:
    made: TextEncoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    return made


def new_scheduler() -> Scheduler:
    made: Scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    return made


def read_vae(folder: Path) -> Vae:
    read: Vae = _read(diffusers.AutoencoderKL.from_pretrained, folder)
    return read


def read_unet(folder: Path) -> Unet:
    read: Unet = _read(diffusers.UNet2DConditionModel.from_pretrained, folder)
    return read


def read_text_encoder(folder: Path) -> TextEncoder:
    read: TextEncoder = _read(transformers.CLIPTextModel.from_pretrained, folder)
    return read


def _read(from_pretrained: Callable[..., Any], folder: Path) -> Any:  # noqa: ANN401
    """Return a network in f32.

    Raises:
        RecipeError: Its configuration is missing, or a tensor is missing, unexpected or misshapen: what has no
            trained values would otherwise be filled with random ones in silence.
    """
    if not (folder / "config.json").is_file():
        raise RecipeError(f"{folder} has no config.json, allowed is the folder of a network that diffusers can read")
    network, loading = from_pretrained(folder, output_loading_info=True, use_safetensors=True)
    problems = {name: sorted(map(str, found)) for name, found in loading.items() if found}
    if problems:
        raise RecipeError(f"{folder} is not a whole {type(network).__name__}: {problems}")
    return network.float()
