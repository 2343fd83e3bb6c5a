"""Tiny models of any shape that the configurations allow, drawn from a seed."""

from dataclasses import replace
from pathlib import Path
from random import Random

from draws import draw
from tools.random_checkpoint import (
    CheckpointConfig,
    ClipTextConfig,
    SchedulerConfig,
    TinyVaeConfig,
    TokenizerConfig,
    UNetConfig,
    VaeConfig,
    write_checkpoint,
)

_LATENTS = 4


def random_model(seed: int) -> CheckpointConfig:
    """A model whose widths, depths, blocks, heads, activations, dtypes and prediction are all drawn."""
    random = draw(seed, "model")
    groups = random.choice((1, 2, 3))
    levels = random.randint(1, 4)
    heads = [random.choice((1, 2, 4)) for _ in range(levels)]
    # Even for the time embedding, whole groups and whole heads at every level.
    channels = [2 * groups * 4 * random.randint(1, 2) for _ in range(levels)]
    has_attention = [random.random() < 0.6 for _ in range(levels)]
    text_heads = random.choice((1, 2, 3))
    width = 8 * text_heads * random.randint(1, 3)
    latent_channels = random.choice((4, 6, 8))
    vae_levels = random.randint(1, 3)
    return CheckpointConfig(
        tokenizer=TokenizerConfig(vocab_size=random.randint(514, 700), pad_token=random.choice(("!", "<|endoftext|>"))),
        text_encoder=ClipTextConfig(
            hidden_size=width,
            intermediate_size=random.randint(8, 80),
            num_hidden_layers=random.randint(1, 3),
            num_attention_heads=text_heads,
            max_position_embeddings=random.randint(5, 77),
            hidden_act=random.choice(("quick_gelu", "gelu")),
            projection_dim=width,
        ),
        unet=UNetConfig(
            sample_size=8,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=channels,
            down_block_types=["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in has_attention],
            mid_block_type=random.choice(("UNetMidBlock2DCrossAttn", None)),
            up_block_types=["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(has_attention)],
            layers_per_block=[random.randint(1, 2) for _ in range(levels)],
            transformer_layers_per_block=random.randint(1, 2),
            attention_head_dim=heads,
            cross_attention_dim=width,
            use_linear_projection=random.random() < 0.5,
            norm_num_groups=groups,
        ),
        tiny_vae=_tiny_vae(draw(seed, "tiny vae"), latent_channels),
        vae=VaeConfig(
            sample_size=8 << (vae_levels - 1),
            latent_channels=latent_channels,
            block_out_channels=[groups * 4 * random.randint(1, 3) for _ in range(vae_levels)],
            layers_per_block=random.randint(1, 2),
            norm_num_groups=groups,
            scaling_factor=random.uniform(0.1, 1.5),
            use_quant_conv=random.random() < 0.7,
            use_post_quant_conv=random.random() < 0.7,
            mid_block_add_attention=random.random() < 0.7,
        ),
        scheduler=SchedulerConfig(prediction_type=random.choice(("epsilon", "v_prediction"))),
        text_encoder_prefix=random.choice(("text_model.", "")),
        dtype=random.choice(("f32", "f16", "bf16")),
    )


def _tiny_vae(random: Random, latent_channels: int) -> TinyVaeConfig | None:
    """The tiny autoencoder that a quarter of the models have."""
    levels = random.randint(1, 4)
    if random.random() >= 0.25:
        return None
    return TinyVaeConfig(
        latent_channels=latent_channels,
        encoder_block_out_channels=[random.randint(4, 20)] * levels,
        decoder_block_out_channels=[random.randint(4, 20)] * levels,
        num_encoder_blocks=[random.randint(0, 3) for _ in range(levels)],
        num_decoder_blocks=[random.randint(0, 3) for _ in range(levels)],
        scaling_factor=random.choice((1.0, random.uniform(0.1, 1.5))),
    )


def random_xl_model(seed: int) -> CheckpointConfig:
    """The same of SDXL: a second text encoder, and a UNet that is told pooled text and sizes."""
    model, random = random_model(seed), draw(seed, "second text encoder")
    heads, sinusoids = random.choice((1, 2, 3)), 2 * random.randint(1, 8)
    second = ClipTextConfig(
        hidden_size=8 * heads * random.randint(1, 3),
        intermediate_size=random.randint(8, 80),
        num_hidden_layers=random.randint(1, 3),
        num_attention_heads=heads,
        max_position_embeddings=model.text_encoder.max_position_embeddings,
        hidden_act=random.choice(("quick_gelu", "gelu")),
        # Fewer values could all be what is left of terms that cancel.
        projection_dim=random.randint(12, 40),
        # The highest id, as old configurations say, or the vocabulary's own end token.
        eos_token_id=random.choice((2, None)),
    )
    return replace(
        model,
        tokenizer_2=replace(model.tokenizer, pad_token=random.choice(("!", "<|endoftext|>"))),
        text_encoder_2=second,
        unet=replace(
            model.unet,
            cross_attention_dim=model.text_encoder.hidden_size + second.hidden_size,
            addition_embed_type="text_time",
            addition_time_embed_dim=sinusoids,
            projection_class_embeddings_input_dim=second.projection_dim + 6 * sinusoids,
        ),
        scheduler=SchedulerConfig(
            class_name="EulerDiscreteScheduler",
            timestep_spacing=random.choice(("leading", "trailing")),
            prediction_type=model.scheduler.prediction_type,
        ),
        force_zeros_for_empty_prompt=random.random() < 0.7,
    )


def with_channels(model: CheckpointConfig, in_channels: int) -> CheckpointConfig:
    """The model with four latent channels, as published ones have, and a UNet that takes `in_channels`."""
    return replace(
        model,
        unet=replace(model.unet, in_channels=in_channels, out_channels=_LATENTS),
        vae=replace(model.vae, latent_channels=_LATENTS),
        tiny_vae=model.tiny_vae and replace(model.tiny_vae, latent_channels=_LATENTS),
    )


def write_random_model(seed: int, folder: Path) -> Path:
    """Writes it in diffusers layout."""
    return write_checkpoint(random_model(seed), folder, seed=seed)
