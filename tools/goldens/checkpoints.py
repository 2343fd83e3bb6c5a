"""Tiny models with random weights: shapes that published models have, and shapes that only the configuration allows."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tools.random_checkpoint import (
    PRESETS,
    CheckpointConfig,
    ClipTextConfig,
    SchedulerConfig,
    TinyVaeConfig,
    TokenizerConfig,
    UNetConfig,
    VaeConfig,
)

_ATTENTION, _PLAIN = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
_TINY = PRESETS["tiny"]

CHECKPOINTS: dict[str, CheckpointConfig] = {
    "v1": _TINY,
    "v2": replace(PRESETS["tiny-v2"], text_encoder_prefix="", dtype="bf16"),
    "attention at the outside only": CheckpointConfig(
        tokenizer=TokenizerConfig(vocab_size=514),
        text_encoder=ClipTextConfig(
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=1,
            num_attention_heads=3,
            max_position_embeddings=20,
            projection_dim=24,
        ),
        unet=UNetConfig(
            in_channels=6,
            out_channels=6,
            block_out_channels=(6, 12, 12),
            down_block_types=(_ATTENTION[0], _PLAIN[0], _PLAIN[0]),
            up_block_types=(_PLAIN[1], _PLAIN[1], _ATTENTION[1]),
            mid_block_type=None,
            layers_per_block=(1, 2, 3),
            transformer_layers_per_block=2,
            attention_head_dim=(2, 3, 6),
            cross_attention_dim=24,
            norm_num_groups=3,
        ),
        vae=VaeConfig(
            latent_channels=6,
            block_out_channels=(6, 9),
            layers_per_block=2,
            norm_num_groups=3,
            use_quant_conv=False,
            use_post_quant_conv=False,
            mid_block_add_attention=False,
        ),
        scheduler=SchedulerConfig(prediction_type="sample"),
        dtype="f16",
    ),
    "attention in the middle, one head": replace(
        _TINY,
        unet=replace(
            _TINY.unet,
            block_out_channels=(8, 8, 16),
            down_block_types=(_PLAIN[0], _ATTENTION[0], _PLAIN[0]),
            up_block_types=(_PLAIN[1], _ATTENTION[1], _PLAIN[1]),
            layers_per_block=2,
            attention_head_dim=1,
            use_linear_projection=True,
        ),
        vae=replace(_TINY.vae, block_out_channels=(8,), norm_num_groups=2, layers_per_block=1),
    ),
    "tiny autoencoder": replace(
        _TINY,
        tiny_vae=TinyVaeConfig(
            encoder_block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(12, 12, 12, 12),
        ),
    ),
    "tiny autoencoder of other depths": replace(
        _TINY,
        tiny_vae=TinyVaeConfig(
            encoder_block_out_channels=(6, 6),
            decoder_block_out_channels=(20, 20),
            num_encoder_blocks=(0, 2),
            num_decoder_blocks=(1, 0),
            scaling_factor=0.5,
        ),
        dtype="f16",
    ),
}


def _wide(preset: str) -> CheckpointConfig:
    """The preset with four channels a group and more, without which norms of few values amplify what f32 rounds."""
    config = PRESETS[preset]
    channels = tuple(4 * width for width in config.unet.block_out_channels)
    return replace(config, unet=replace(config.unet, block_out_channels=channels))


_XL = _wide("tiny-xl")
FAMILIES: dict[str, CheckpointConfig] = {
    "turbo": _wide("tiny-turbo"),
    "v1, inpainting": _wide("tiny-inpaint"),
    "v2, inpainting": _wide("tiny-v2-inpaint"),
    "xl": _XL,
    "xl, inpainting": _wide("tiny-xl-inpaint"),
    "xl, other widths and depths": replace(
        _XL,
        text_encoder=replace(_XL.text_encoder, hidden_size=24, max_position_embeddings=20, num_hidden_layers=1),
        text_encoder_2=ClipTextConfig(
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=20,
            projection_dim=9,
        ),
        unet=replace(
            _XL.unet,
            layers_per_block=2,
            # No attention at the outer level, so that it does not matter how many layers of it there are.
            transformer_layers_per_block=(0, 1, 2),
            cross_attention_dim=48,
            addition_time_embed_dim=6,
            projection_class_embeddings_input_dim=45,
        ),
        text_encoder_prefix="",
        force_zeros_for_empty_prompt=False,
        dtype="f16",
    ),
}


def mean_magnitude(folder: Path, config: CheckpointConfig) -> float:
    """The mean magnitude of the weights of a written checkpoint: tells whether they are the ones meant."""
    total, count = 0.0, 0
    for path in sorted(folder.glob("*/*.safetensors")):
        data = path.read_bytes()
        data = data[8 + int.from_bytes(data[:8], "little") :]
        match config.dtype:
            case "f32":
                values = np.frombuffer(data, "<f4")
            case "f16":
                values = np.frombuffer(data, "<f2")
            case "bf16":
                values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        total, count = total + float(np.sum(np.abs(values), dtype=np.float64)), count + values.size
    return total / count
