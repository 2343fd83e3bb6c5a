"""Models to write by name: two published shapes at full size, and each of them made tiny."""

from tools.random_checkpoint.config import (
    CheckpointConfig,
    ClipTextConfig,
    SchedulerConfig,
    TokenizerConfig,
    UNetConfig,
    VaeConfig,
)

_TINY_VAE = VaeConfig(sample_size=64, block_out_channels=(4, 8, 16, 16), layers_per_block=1, norm_num_groups=4)

PRESETS = {
    "v1-5": CheckpointConfig(),
    "v2-1": CheckpointConfig(
        tokenizer=TokenizerConfig(pad_token="!"),
        text_encoder=ClipTextConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=23,
            num_attention_heads=16,
            hidden_act="gelu",
            projection_dim=512,
        ),
        unet=UNetConfig(
            sample_size=96, attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True
        ),
        vae=VaeConfig(sample_size=768),
        scheduler=SchedulerConfig(prediction_type="v_prediction"),
    ),
    "tiny": CheckpointConfig(
        tokenizer=TokenizerConfig(vocab_size=640),
        text_encoder=ClipTextConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, projection_dim=32
        ),
        unet=UNetConfig(
            sample_size=8,
            block_out_channels=(4, 8, 16, 16),
            layers_per_block=1,
            attention_head_dim=2,
            cross_attention_dim=32,
            norm_num_groups=4,
        ),
        vae=_TINY_VAE,
    ),
    "tiny-v2": CheckpointConfig(
        tokenizer=TokenizerConfig(vocab_size=640, pad_token="!"),
        text_encoder=ClipTextConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            hidden_act="gelu",
            projection_dim=16,
        ),
        unet=UNetConfig(
            sample_size=8,
            block_out_channels=(4, 8, 16, 16),
            layers_per_block=1,
            attention_head_dim=(1, 2, 4, 4),
            cross_attention_dim=32,
            use_linear_projection=True,
            norm_num_groups=4,
        ),
        vae=_TINY_VAE,
        scheduler=SchedulerConfig(prediction_type="v_prediction"),
    ),
}
