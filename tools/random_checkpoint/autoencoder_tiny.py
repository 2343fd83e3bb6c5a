"""Tensors of diffusers' `AutoencoderTiny`."""

from collections.abc import Sequence

from tools.random_checkpoint.config import TinyVaeConfig
from tools.random_checkpoint.tensors import Specs, conv, weight

_PIXELS = 3


def autoencoder_tiny(config: TinyVaeConfig) -> Specs:
    """Encoder and decoder; layers are counted with those that have no tensors.

    Raises:
        ValueError: A number of levels contradicts another.
    """
    yield from _encoder(config)
    yield from _decoder(config)


def _encoder(config: TinyVaeConfig) -> Specs:
    widths, blocks = config.encoder_block_out_channels, config.num_encoder_blocks
    _agree("num_encoder_blocks", blocks, widths)
    index = 0
    for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        name = f"encoder.layers.{index}"
        yield from conv(name, _PIXELS, width) if level == 0 else weight(name, (width, width, 3, 3))
        index += 1
        for _ in range(count):
            yield from _block(f"encoder.layers.{index}", width)
            index += 1
    yield from conv(f"encoder.layers.{index}", widths[-1], config.latent_channels)


def _decoder(config: TinyVaeConfig) -> Specs:
    widths, blocks = config.decoder_block_out_channels, config.num_decoder_blocks
    _agree("num_decoder_blocks", blocks, widths)
    yield from conv("decoder.layers.0", config.latent_channels, widths[0])
    # Behind the first convolution's activation.
    index = 2
    for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for _ in range(count):
            yield from _block(f"decoder.layers.{index}", width)
            index += 1
        if level + 1 < len(widths):
            # Behind the upsampling.
            yield from weight(f"decoder.layers.{index + 1}", (width, width, 3, 3))
            index += 2
    yield from conv(f"decoder.layers.{index}", widths[-1], _PIXELS)


def _block(name: str, width: int) -> Specs:
    for index in (0, 2, 4):
        yield from conv(f"{name}.conv.{index}", width, width)


def _agree(field: str, values: Sequence[int], widths: Sequence[int]) -> None:
    if len(values) != len(widths):
        raise ValueError(f"{field}: got {len(values)} values, allowed are {len(widths)}, one a level")
