"""Small models of the families that single files are of, in diffusers layout, with CLIP's own tokenizer.

A file says nothing of heads and groups: widths are such that the published rules give the configuration's.
"""

from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path

from support import edit_json
from tools.clip_vocabulary import merges
from tools.goldens.vocabulary import write_folder
from tools.random_checkpoint import (
    CheckpointConfig,
    ClipTextConfig,
    SchedulerConfig,
    TokenizerConfig,
    UNetConfig,
    VaeConfig,
    write_checkpoint,
)
from tools.random_checkpoint.safetensors import write_safetensors
from tools.random_checkpoint.tensors import TensorSpec, linear
from tools.random_checkpoint.text_encoder import clip_text_model
from tools.random_checkpoint.unet import unet

_V1 = CheckpointConfig(
    text_encoder=ClipTextConfig(
        hidden_size=128, intermediate_size=160, num_hidden_layers=2, num_attention_heads=2, projection_dim=128
    ),
    unet=UNetConfig(
        block_out_channels=(32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=128,
    ),
    vae=VaeConfig(block_out_channels=(32, 32, 64, 64), layers_per_block=1),
    dtype="f16",
)
_LINEAR = replace(_V1.unet, block_out_channels=(64, 128, 128), attention_head_dim=(1, 2, 2), use_linear_projection=True)
_V2 = replace(
    _V1,
    tokenizer=TokenizerConfig(pad_token="!"),
    text_encoder=replace(_V1.text_encoder, num_hidden_layers=3, hidden_act="gelu"),
    unet=replace(_LINEAR, sample_size=96),
    scheduler=SchedulerConfig(prediction_type="v_prediction"),
)
_XL = replace(
    _V1,
    unet=replace(
        _LINEAR,
        sample_size=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3),
        cross_attention_dim=128 + 192,
    ),
    vae=replace(_V1.vae, scaling_factor=0.13025),
)
_SECOND = ClipTextConfig(
    hidden_size=192, intermediate_size=160, num_hidden_layers=3, num_attention_heads=3, hidden_act="gelu"
)
_PROJECTION = 80
CONFIGS = {"v1": _V1, "v2": _V2, "xl": _XL}


def write_model(kind: str, folder: Path, seed: int = 0) -> Path:
    """Writes a small model of one of `CONFIGS`."""
    config = CONFIGS[kind]
    write_checkpoint(config, folder, seed=seed)
    pad = config.tokenizer.pad_token
    write_folder(folder / "tokenizer", _merges(), pad)
    if kind == "xl":
        _add_second_text_encoder(config, folder, seed)
    return folder


@cache
def _merges() -> list[tuple[str, str]]:
    return merges()


def _add_second_text_encoder(config: CheckpointConfig, folder: Path, seed: int) -> None:
    for name in ("text_encoder_2", "tokenizer_2"):
        (folder / name).mkdir()
    write_folder(folder / "tokenizer_2", _merges(), "!")
    projection = TensorSpec(
        "text_projection.weight", (_PROJECTION, _SECOND.hidden_size), 0.0, _SECOND.hidden_size**-0.5
    )
    tensors = chain(clip_text_model(_SECOND, config.tokenizer.vocab_size, "text_model."), [projection])
    write_safetensors(folder / "text_encoder_2" / "model.safetensors", tensors, config.dtype, seed + 1)
    text = (folder / "text_encoder" / "config.json").read_text()
    (folder / "text_encoder_2" / "config.json").write_text(text)
    edit_json(
        folder / "text_encoder_2" / "config.json",
        architectures=["CLIPTextModelWithProjection"],
        hidden_size=_SECOND.hidden_size,
        num_hidden_layers=_SECOND.num_hidden_layers,
        num_attention_heads=_SECOND.num_attention_heads,
        hidden_act=_SECOND.hidden_act,
        projection_dim=_PROJECTION,
        pad_token_id=0,
    )
    width = 4 * next(iter(config.unet.block_out_channels))
    pooled = _PROJECTION + 6 * 256
    added = chain(linear("add_embedding.linear_1", pooled, width), linear("add_embedding.linear_2", width, width))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    write_safetensors(weights, chain(unet(config.unet), added), config.dtype, seed)
    edit_json(
        folder / "unet" / "config.json",
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=pooled,
    )
    edit_json(
        folder / "model_index.json",
        _class_name="StableDiffusionXLPipeline",
        text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
        tokenizer_2=["transformers", "CLIPTokenizer"],
        force_zeros_for_empty_prompt=True,
    )
    edit_json(folder / "scheduler" / "scheduler_config.json", _class_name="EulerDiscreteScheduler")


def write_inpainting_unet(folder: Path, seed: int = 0) -> None:
    """Gives the `v1` in `folder` a UNet that takes a mask and the latents of a masked picture too."""
    wide = replace(_V1.unet, in_channels=9)
    write_safetensors(folder / "unet" / "diffusion_pytorch_model.safetensors", unet(wide), _V1.dtype, seed)
    edit_json(folder / "unet" / "config.json", in_channels=9)
    edit_json(folder / "model_index.json", _class_name="StableDiffusionInpaintPipeline")
