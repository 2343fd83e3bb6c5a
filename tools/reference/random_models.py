"""Tiny models of random shape with random weights, written by diffusers and transformers themselves."""

import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tools.goldens.vocabulary import EOS, write_folder

_DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
_VOCABULARY = 2 * 256 + 2


def write(folder: Path, draw: random.Random, *, like_v1: bool = False) -> dict[str, Any]:
    """Writes a whole model, in f32, f16 or bf16; returns what was drawn.

    Args:
        folder: A new folder.
        draw: Where the shape and the weights come from.
        like_v1: Only what candle's own models can say: mirrored blocks, as many layers in each, a middle block with
            attention.
    """
    torch.manual_seed(draw.getrandbits(32))
    latents = draw.choice((3, 4, 4, 8))
    text = _text_encoder(draw)
    configs = {"text_encoder": text, "unet": _unet(draw, latents, text["hidden_size"], like_v1)}
    configs["vae"] = _vae(draw, latents, like_v1)
    configs["scheduler"] = _scheduler(draw)
    with tempfile.TemporaryDirectory() as path:
        write_folder(Path(path), [], draw.choice((EOS, "!")))
        tokenizer = CLIPTokenizer.from_pretrained(path, model_max_length=text["max_position_embeddings"])
    pipeline = StableDiffusionPipeline(
        tokenizer=tokenizer,
        text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
        unet=UNet2DConditionModel(**configs["unet"]),
        vae=AutoencoderKL(**configs["vae"]),
        scheduler=DDIMScheduler(**configs["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    dtype = draw.choice(list(_DTYPES))
    for network in (pipeline.text_encoder, pipeline.unet, pipeline.vae):
        _scatter(network)
        network.to(_DTYPES[dtype])
    # Pictures of every brightness, not only of the middle grey that a random decoder is near.
    pipeline.vae.decoder.conv_out.weight.data *= 4
    pipeline.save_pretrained(folder)
    return {"dtype": dtype, **configs}


def _scatter(network: torch.nn.Module) -> None:
    """Moves biases and norms off the 0 and 1 that they begin with, where a mistake would not be seen."""
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape)


def _text_encoder(draw: random.Random) -> dict[str, Any]:
    heads = draw.randint(1, 4)
    return {
        "vocab_size": _VOCABULARY,
        "hidden_size": heads * draw.choice((4, 6, 8, 16)),
        "intermediate_size": draw.randint(5, 90),
        "num_hidden_layers": draw.randint(1, 4),
        "num_attention_heads": heads,
        "max_position_embeddings": draw.choice((9, 32, 77)),
        "hidden_act": draw.choice(("gelu", "quick_gelu")),
        "layer_norm_eps": draw.choice((1e-5, 1e-6)),
        "projection_dim": 8,
        "bos_token_id": _VOCABULARY - 2,
        "eos_token_id": _VOCABULARY - 1,
    }


def _unet(draw: random.Random, latents: int, width: int, like_v1: bool) -> dict[str, Any]:
    levels = draw.randint(1, 4)
    groups = draw.choice((1, 2, 4))
    heads = [draw.choice((1, 2, 3)) for _ in range(levels)]
    # A multiple of the groups, of the heads, and of 2 for the time embedding.
    channels = [2 * groups * count * draw.randint(1, 2) for count in heads]
    attention = [draw.random() < 0.6 for _ in range(levels)]
    back = attention[::-1] if like_v1 else [draw.random() < 0.6 for _ in range(levels)]
    one = like_v1 or draw.random() < 0.5
    return {
        "sample_size": 8,
        "in_channels": latents,
        "out_channels": latents,
        "block_out_channels": tuple(channels),
        "down_block_types": tuple("CrossAttnDownBlock2D" if block else "DownBlock2D" for block in attention),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if like_v1 or draw.random() < 0.8 else None,
        "up_block_types": tuple("CrossAttnUpBlock2D" if block else "UpBlock2D" for block in back),
        "layers_per_block": draw.randint(1, 2) if one else tuple(draw.randint(1, 3) for _ in range(levels)),
        "transformer_layers_per_block": 1 if one else tuple(draw.randint(1, 2) for _ in range(levels)),
        "attention_head_dim": tuple(heads),
        "cross_attention_dim": width,
        "use_linear_projection": draw.random() < 0.5,
        "norm_num_groups": groups,
        "norm_eps": draw.choice((1e-5, 1e-6)),
        "flip_sin_to_cos": draw.random() < 0.7,
        "freq_shift": draw.choice((0, 0, 1)) if channels[0] > 2 else 0,
    }


def _vae(draw: random.Random, latents: int, like_v1: bool) -> dict[str, Any]:
    levels, groups = draw.randint(1, 4), draw.choice((1, 2, 4))
    quant = like_v1 or draw.random() < 0.7
    return {
        "sample_size": 16,
        "latent_channels": latents,
        "block_out_channels": tuple(groups * draw.randint(1, 5) for _ in range(levels)),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "layers_per_block": draw.randint(1, 2),
        "norm_num_groups": groups,
        "scaling_factor": draw.choice((0.18215, 0.5, 1.0)),
        "use_quant_conv": quant,
        "use_post_quant_conv": quant,
        "mid_block_add_attention": like_v1 or draw.random() < 0.8,
    }


def _scheduler(draw: random.Random) -> dict[str, Any]:
    return {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": draw.choice(("epsilon", "v_prediction")),
        "timestep_spacing": draw.choice(("leading", "trailing", "linspace")),
        "set_alpha_to_one": draw.random() < 0.5,
        # diffusers' pipeline mends these two, and so do we.
        "steps_offset": draw.choice((0, 1)),
        "clip_sample": draw.random() < 0.5,
    }
