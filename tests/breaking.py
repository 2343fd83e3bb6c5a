"""Ways to break a copy of the embedded model."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sd_rbee import CheckpointError, Pipeline
from support import Tensors, copy_model, edit_json, read_safetensors, replace, write_safetensors

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"

Break = Callable[[Path], object]
Change = Callable[[Tensors, bytes], bytes]


def check(do: Break, says: str, folder: Path) -> None:
    """Breaks a copy of the model, which then cannot be loaded and says why, without this machine's folders."""
    model = copy_model(folder)
    do(model)
    with pytest.raises(CheckpointError) as caught:
        Pipeline.load(model)
    assert says in str(caught.value)
    assert str(folder) not in str(caught.value)


def instead(name: str, make: Callable[[Path], object]) -> Break:
    """Something else in the place of a file."""

    def apply(model: Path) -> None:
        (model / name).unlink()
        make(model / name)

    return apply


def both(*breaks: Break) -> Break:
    return lambda model: [do(model) for do in breaks]


def remove(name: str) -> Break:
    return lambda model: (model / name).unlink()


def write(name: str, data: bytes) -> Break:
    return lambda model: replace(model / name, data)


def cut(name: str, keep: int) -> Break:
    return lambda model: replace(model / name, (model / name).read_bytes()[:keep])


def more(name: str, data: bytes) -> Break:
    return lambda model: replace(model / name, (model / name).read_bytes() + data)


def config(name: str, **changes: object) -> Break:
    return lambda model: edit_json(model / name, **changes)


def tensors(name: str, change: Change) -> Break:
    def apply(model: Path) -> None:
        entries, data = read_safetensors(model / name)
        write_safetensors(model / name, entries, change(entries, data))

    return apply


def drop(tensor: str) -> Change:
    """Renames it, since every byte of the data must belong to a tensor."""

    def change(entries: Tensors, data: bytes) -> bytes:
        entries["a.stranger"] = entries.pop(tensor)
        return data

    return change


def add(tensor: str) -> Change:
    def change(entries: Tensors, data: bytes) -> bytes:
        entries[tensor] = {"dtype": "F32", "shape": [2], "data_offsets": [len(data), len(data) + 8]}
        return data + bytes(8)

    return change


def retype(tensor: str, dtype: str, **fields: object) -> Change:
    """The tensor with another dtype, of zeros, at the end of the data; its old bytes become a tensor of their own."""
    sizes = {"I64": 8, "F64": 8, "I8": 1, "BOOL": 1, "F8_E4M3": 1}

    def change(entries: Tensors, data: bytes) -> bytes:
        old = entries[tensor]
        length = math.prod(old["shape"]) * sizes[dtype]
        begin, end = old["data_offsets"]
        # The gap is closed: all that lay behind the old bytes moves up.
        for entry in entries.values():
            entry_begin, entry_end = entry.get("data_offsets", (0, 0))
            if entry_begin >= end:
                entry["data_offsets"] = [entry_begin - (end - begin), entry_end - (end - begin)]
        data = data[:begin] + data[end:]
        entries[tensor] = {**old, "dtype": dtype, "data_offsets": [len(data), len(data) + length], **fields}
        return data + bytes(length)

    return change


def field(tensor: str, **fields: object) -> Change:
    def change(entries: Tensors, data: bytes) -> bytes:
        entries[tensor].update(fields)
        return data

    return change
