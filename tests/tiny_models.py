"""A model of a few channels at every level, which draws in milliseconds."""

from pathlib import Path

from tools.random_checkpoint import (
    CheckpointConfig,
    ClipTextConfig,
    TinyVaeConfig,
    TokenizerConfig,
    UNetConfig,
    VaeConfig,
    write_checkpoint,
)


def write_tiny_model(
    folder: Path,
    in_channels: int,
    tiny_vae: TinyVaeConfig | None = None,
    *,
    width: int = 8,
    use_quant_conv: bool = True,
) -> Path:
    """A Stable Diffusion in `folder` whose levels have `width` channels and whose UNet takes `in_channels`."""
    return write_checkpoint(
        CheckpointConfig(
            tokenizer=TokenizerConfig(vocab_size=514),
            text_encoder=ClipTextConfig(
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=1,
                max_position_embeddings=8,
                projection_dim=8,
            ),
            unet=UNetConfig(
                sample_size=8,
                in_channels=in_channels,
                block_out_channels=(width, width),
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                layers_per_block=1,
                attention_head_dim=1,
                cross_attention_dim=8,
                norm_num_groups=width,
            ),
            vae=VaeConfig(
                block_out_channels=(width, width),
                layers_per_block=1,
                norm_num_groups=width,
                use_quant_conv=use_quant_conv,
            ),
            tiny_vae=tiny_vae,
        ),
        folder,
        seed=in_channels,
    )
