"""Tensors of diffusers' `AutoencoderKL`."""

from tools.random_checkpoint.config import VaeConfig
from tools.random_checkpoint.tensors import Specs, conv, linear, norm, resnet

_PIXELS = 3


def autoencoder_kl(config: VaeConfig) -> Specs:
    latents = config.latent_channels
    yield from _half("encoder", config, _PIXELS, 2 * latents)
    if config.use_quant_conv:
        yield from conv("quant_conv", 2 * latents, 2 * latents, kernel=1)
    if config.use_post_quant_conv:
        yield from conv("post_quant_conv", latents, latents, kernel=1)
    yield from _half("decoder", config, latents, _PIXELS)


def _half(name: str, config: VaeConfig, inputs: int, outputs: int) -> Specs:
    """Encoder or decoder: the decoder runs through the channels backwards, with one more block at every level."""
    down = name == "encoder"
    channels = list(config.block_out_channels) if down else list(reversed(config.block_out_channels))
    layers = config.layers_per_block if down else config.layers_per_block + 1
    blocks, resample = ("down_blocks", "downsamplers") if down else ("up_blocks", "upsamplers")
    yield from conv(f"{name}.conv_in", inputs, channels[0])
    before = channels[0]
    for index, width in enumerate(channels):
        level = f"{name}.{blocks}.{index}"
        for layer in range(layers):
            yield from resnet(f"{level}.resnets.{layer}", before, width)
            before = width
        if index + 1 < len(channels):
            yield from conv(f"{level}.{resample}.0.conv", width, width)
    yield from _mid_block(f"{name}.mid_block", config)
    yield from norm(f"{name}.conv_norm_out", channels[-1])
    yield from conv(f"{name}.conv_out", channels[-1], outputs)


def _mid_block(name: str, config: VaeConfig) -> Specs:
    width = config.block_out_channels[-1]
    yield from resnet(f"{name}.resnets.0", width, width)
    if config.mid_block_add_attention:
        attention = f"{name}.attentions.0"
        yield from norm(f"{attention}.group_norm", width)
        for projection in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from linear(f"{attention}.{projection}", width, width)
    yield from resnet(f"{name}.resnets.1", width, width)
