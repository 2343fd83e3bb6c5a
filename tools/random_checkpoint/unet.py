"""Tensors of diffusers' `UNet2DConditionModel`."""

from collections.abc import Sequence

from tools.random_checkpoint.config import UNetConfig, per_level
from tools.random_checkpoint.tensors import Specs, conv, linear, norm, resnet

# Height and width twice, top and left: what SDXL is told of a picture.
_SIZES = 6


def unet(config: UNetConfig) -> Specs:
    """Every tensor, on the way from the sample to the prediction.

    Raises:
        ValueError: A list is not as long as the list of channels, a block is of an unknown type, or pooled text and
            sizes are told without their widths.
    """
    channels = tuple(config.block_out_channels)
    levels = len(channels)
    layers = per_level("layers_per_block", config.layers_per_block, levels)
    down = _attends("down_block_types", config.down_block_types, "DownBlock2D", levels)
    up = _attends("up_block_types", config.up_block_types, "UpBlock2D", levels)
    time = 4 * channels[0]
    yield from linear("time_embedding.linear_1", channels[0], time)
    yield from linear("time_embedding.linear_2", time, time)
    if config.addition_embed_type is not None:
        yield from linear("add_embedding.linear_1", _added_width(config), time)
        yield from linear("add_embedding.linear_2", time, time)
    yield from conv("conv_in", config.in_channels, channels[0])
    for level in range(levels):
        name = f"down_blocks.{level}"
        inputs = [channels[max(level - 1, 0)], *[channels[level]] * (layers[level] - 1)]
        yield from _layers(name, config, level, inputs, attends=down[level])
        if level + 1 < levels:
            yield from conv(f"{name}.downsamplers.0.conv", channels[level], channels[level])
    if config.mid_block_type is not None:
        yield from _layers("mid_block", config, levels - 1, [channels[-1]], attends=True)
        yield from resnet("mid_block.resnets.1", channels[-1], channels[-1], time)
    for index, level in enumerate(reversed(range(levels))):
        name = f"up_blocks.{index}"
        inputs = _with_skips(channels, level, layers[level] + 1)
        yield from _layers(name, config, level, inputs, attends=up[index])
        if level > 0:
            yield from conv(f"{name}.upsamplers.0.conv", channels[level], channels[level])
    yield from norm("conv_norm_out", channels[0])
    yield from conv("conv_out", channels[0], config.out_channels)


def _attends(field: str, types: Sequence[str], plain: str, levels: int) -> list[bool]:
    allowed = {plain: False, f"CrossAttn{plain}": True}
    if len(types) != levels or any(kind not in allowed for kind in types):
        raise ValueError(f"{field}: got {list(types)}, allowed are {levels} of {' and '.join(allowed)}")
    return [allowed[kind] for kind in types]


def _added_width(config: UNetConfig) -> int:
    width, sinusoids = config.projection_class_embeddings_input_dim, config.addition_time_embed_dim
    if width is None or sinusoids is None or width <= _SIZES * sinusoids:
        raise ValueError(
            f"projection_class_embeddings_input_dim: got {width} with an addition_time_embed_dim of {sinusoids},"
            f" allowed is more than {_SIZES} of those"
        )
    return width


def _with_skips(channels: tuple[int, ...], level: int, layers: int) -> list[int]:
    """Inputs of a level's resnet blocks on the way up: what comes from below, and one skip connection each."""
    below = [channels[min(level + 1, len(channels) - 1)], *[channels[level]] * (layers - 1)]
    skips = [*[channels[level]] * (layers - 1), channels[max(level - 1, 0)]]
    return [one + other for one, other in zip(below, skips, strict=True)]


def _layers(name: str, config: UNetConfig, level: int, inputs: list[int], *, attends: bool) -> Specs:
    outputs = config.block_out_channels[level]
    for index, count in enumerate(inputs):
        yield from resnet(f"{name}.resnets.{index}", count, outputs, 4 * config.block_out_channels[0])
        if attends:
            yield from _transformer(f"{name}.attentions.{index}", config, level)


def _transformer(name: str, config: UNetConfig, level: int) -> Specs:
    width = config.block_out_channels[level]
    blocks = per_level(
        "transformer_layers_per_block", config.transformer_layers_per_block, len(config.block_out_channels)
    )[level]
    yield from norm(f"{name}.norm", width)
    yield from _projection(f"{name}.proj_in", width, linear_projection=config.use_linear_projection)
    for index in range(blocks):
        block = f"{name}.transformer_blocks.{index}"
        yield from norm(f"{block}.norm1", width)
        yield from _attention(f"{block}.attn1", width, width)
        yield from norm(f"{block}.norm2", width)
        yield from _attention(f"{block}.attn2", width, config.cross_attention_dim)
        yield from norm(f"{block}.norm3", width)
        yield from linear(f"{block}.ff.net.0.proj", width, 8 * width)
        yield from linear(f"{block}.ff.net.2", 4 * width, width)
    yield from _projection(f"{name}.proj_out", width, linear_projection=config.use_linear_projection)


def _projection(name: str, width: int, *, linear_projection: bool) -> Specs:
    return linear(name, width, width) if linear_projection else conv(name, width, width, kernel=1)


def _attention(name: str, width: int, context: int) -> Specs:
    yield from linear(f"{name}.to_q", width, width, bias=False)
    yield from linear(f"{name}.to_k", context, width, bias=False)
    yield from linear(f"{name}.to_v", context, width, bias=False)
    yield from linear(f"{name}.to_out.0", width, width)
