"""Tensors of the layers that all networks are built of: names, shapes and what random values suit them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor to write, its values normally distributed."""

    name: str
    shape: tuple[int, ...]
    mean: float
    std: float


Specs = Iterator[TensorSpec]


def weight(name: str, shape: tuple[int, ...]) -> Specs:
    """A layer's weight; dividing by the root of what each output sums over keeps the variance from layer to layer."""
    yield TensorSpec(f"{name}.weight", shape, 0.0, prod(shape[1:]) ** -0.5)


def _bias(name: str, width: int) -> Specs:
    yield TensorSpec(f"{name}.bias", (width,), 0.0, SPREAD)


def linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Specs:
    yield from weight(name, (outputs, inputs))
    if bias:
        yield from _bias(name, outputs)


def conv(name: str, inputs: int, outputs: int, kernel: int = 3) -> Specs:
    yield from weight(name, (outputs, inputs, kernel, kernel))
    yield from _bias(name, outputs)


def norm(name: str, width: int) -> Specs:
    """Near the identity and not on it, so that norms that change places are noticed."""
    yield TensorSpec(f"{name}.weight", (width,), 1.0, SPREAD)
    yield from _bias(name, width)


def embedding(name: str, entries: int, width: int) -> Specs:
    """An embedding sums over nothing: one row is one input."""
    yield TensorSpec(f"{name}.weight", (entries, width), 0.0, 1.0)


def resnet(name: str, inputs: int, outputs: int, time_embedding: int | None = None) -> Specs:
    """A `ResnetBlock2D`; `time_embedding` is the embedding's width, None in the VAE."""
    yield from norm(f"{name}.norm1", inputs)
    yield from conv(f"{name}.conv1", inputs, outputs)
    if time_embedding is not None:
        yield from linear(f"{name}.time_emb_proj", time_embedding, outputs)
    yield from norm(f"{name}.norm2", outputs)
    yield from conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        yield from conv(f"{name}.conv_shortcut", inputs, outputs, kernel=1)
