"""Models to write by name: published shapes at full size, and each of them made tiny."""

from tools.random_checkpoint.config import (
    CheckpointConfig,
    ClipTextConfig,
    SchedulerConfig,
    TokenizerConfig,
    UNetConfig,
    VaeConfig,
)
from tools.random_checkpoint.tiny_presets import TINY_PRESETS

PRESETS: dict[str, CheckpointConfig] = {
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
    "xl": CheckpointConfig(
        text_encoder_2=ClipTextConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=20,
            hidden_act="gelu",
            projection_dim=1280,
            eos_token_id=2,
        ),
        unet=UNetConfig(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        vae=VaeConfig(sample_size=1024, scaling_factor=0.13025),
        scheduler=SchedulerConfig(class_name="EulerDiscreteScheduler"),
    ),
    **TINY_PRESETS,
}
