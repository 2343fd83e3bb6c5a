"""Every family of models made tiny."""

from dataclasses import replace

from tools.random_checkpoint.config import (
    CheckpointConfig,
    ClipTextConfig,
    SchedulerConfig,
    TokenizerConfig,
    UNetConfig,
    VaeConfig,
)

# Latents, the mask, the masked picture's latents.
_INPAINT_CHANNELS = 9
_VAE = VaeConfig(sample_size=64, block_out_channels=(4, 8, 16, 16), layers_per_block=1, norm_num_groups=4)
_TURBO = SchedulerConfig(class_name="EulerDiscreteScheduler", timestep_spacing="trailing")

_V1 = CheckpointConfig(
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
    vae=_VAE,
)
_V2 = CheckpointConfig(
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
    vae=_VAE,
    scheduler=SchedulerConfig(prediction_type="v_prediction"),
)
_XL = CheckpointConfig(
    tokenizer=TokenizerConfig(vocab_size=640),
    text_encoder=ClipTextConfig(
        hidden_size=16, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2, projection_dim=16
    ),
    tokenizer_2=TokenizerConfig(vocab_size=640, pad_token="!"),
    text_encoder_2=ClipTextConfig(
        hidden_size=24,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=3,
        hidden_act="gelu",
        projection_dim=20,
        eos_token_id=2,
    ),
    unet=UNetConfig(
        sample_size=8,
        block_out_channels=(4, 8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2, 3),
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=40,
        use_linear_projection=True,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=68,
    ),
    vae=replace(_VAE, scaling_factor=0.13025),
    scheduler=SchedulerConfig(class_name="EulerDiscreteScheduler"),
)


def _inpaint(config: CheckpointConfig) -> CheckpointConfig:
    return replace(config, unet=replace(config.unet, in_channels=_INPAINT_CHANNELS))


TINY_PRESETS = {
    "tiny": _V1,
    "tiny-inpaint": _inpaint(_V1),
    "tiny-v2": _V2,
    "tiny-v2-inpaint": _inpaint(replace(_V2, scheduler=SchedulerConfig())),
    "tiny-turbo": replace(_V2, scheduler=_TURBO),
    "tiny-xl": _XL,
    "tiny-xl-inpaint": _inpaint(_XL),
    "tiny-xl-turbo": replace(_XL, scheduler=_TURBO),
}
