"""Safetensors files that are broken, cut short, or of another model."""

import struct
from pathlib import Path

import pytest

from breaking import (
    TEXT,
    UNET,
    VAE,
    Break,
    Change,
    add,
    check,
    cut,
    drop,
    field,
    instead,
    more,
    remove,
    retype,
    tensors,
    write,
)


def header(length: int, text: bytes = b"") -> Break:
    return write(UNET, struct.pack("<Q", length) + text)


def flip(tensor: str) -> Change:
    return lambda entries, data: field(tensor, shape=entries[tensor]["shape"][::-1])(entries, data)


CASES: dict[str, tuple[Break, str]] = {
    "empty": (write(UNET, b""), f"{UNET}: is empty"),
    "short": (write(UNET, b"\1\2\3"), f"{UNET}: is 3 bytes"),
    "half": (cut(UNET, 7_000_000), f"{UNET}: is truncated"),
    "header-cut": (cut(VAE, 1000), f"{VAE}: is truncated: the header should be"),
    "one-byte-less": (lambda model: cut(VAE, (model / VAE).stat().st_size - 1)(model), f"{VAE}: is truncated"),
    "one-byte-more": (more(TEXT, b"\0"), f"{TEXT}: is truncated or has bytes"),
    "header-huge": (header(2**60), f"{UNET}: is not a safetensors file: the header would be {2**60} bytes"),
    "header-largest": (header(2**64 - 1), f"{UNET}: is not a safetensors file"),
    "header-past-end": (header(1000, b"{}"), f"{UNET}: is truncated: the header should be 1000 bytes, only 2 follow"),
    "header-garbage": (header(8, b"\xff\0garbage"), UNET),
    "header-no-object": (header(2, b"[]"), f"{UNET}: header is not valid"),
    "header-empty": (header(2, b"{}"), "missing: conv_in.weight [64, 8, 3, 3]"),
    "header-deep": (header(200_000, b'{"a":' * 40_000), UNET),
    "a-picture": (write(UNET, b"\x89PNG\r\n\x1a\n" * 100), UNET),
    "file-missing": (remove(UNET), "unet: has no weights"),
    "folder-missing": (lambda model: (model / "unet").rename(model / "gone"), "unet"),
    "file-is-folder": (instead(UNET, Path.mkdir), "unet: has no weights"),
    "link-to-nothing": (instead(UNET, lambda path: path.symlink_to("/nowhere")), "unet: has no weights"),
    "pickled": (
        lambda model: (model / UNET).rename(model / "unet/diffusion_pytorch_model.bin"),
        "unet: has only pickled weights (diffusion_pytorch_model.bin)",
    ),
    "tensor-missing": (tensors(UNET, drop("conv_in.bias")), "missing: conv_in.bias [64]"),
    "tensor-stranger": (tensors(UNET, drop("conv_in.bias")), "unexpected: a.stranger"),
    "tensor-extra": (tensors(TEXT, add("one.more")), "unexpected: one.more"),
    "tensor-misshapen": (tensors(UNET, flip("conv_in.weight")), "misshapen: conv_in.weight is [3, 3, 8, 64]"),
    "tensor-i64": (tensors(UNET, retype("conv_in.bias", "I64")), 'the tensor "conv_in.bias" is I64, only F32'),
    "tensor-f64": (tensors(VAE, retype("encoder.conv_in.bias", "F64")), 'the tensor "encoder.conv_in.bias" is F64'),
    "encoder-missing": (tensors(VAE, drop("encoder.conv_in.bias")), "missing: encoder.conv_in.bias"),
    "encoder-misshapen": (tensors(VAE, flip("encoder.conv_in.weight")), "misshapen: encoder.conv_in.weight"),
    "decoder-f64": (tensors(VAE, retype("decoder.conv_in.bias", "F64")), 'the tensor "decoder.conv_in.bias" is F64'),
    "tensor-i8": (tensors(UNET, retype("conv_in.bias", "I8")), 'the tensor "conv_in.bias" is I8'),
    "tensor-f8": (tensors(UNET, retype("conv_in.bias", "F8_E4M3")), 'the tensor "conv_in.bias" is F8_E4M3'),
    "tensor-no-dtype": (tensors(UNET, field("conv_in.bias", dtype="COMPLEX")), f"{UNET}: header is not valid"),
    "tensor-offsets": (tensors(UNET, field("conv_in.bias", data_offsets=[2**63, 2**63 + 128])), UNET),
    "tensor-backwards": (tensors(UNET, field("conv_in.bias", data_offsets=[128, 0])), UNET),
    "tensor-too-large": (tensors(UNET, field("conv_in.bias", shape=[2**40, 2**40])), UNET),
    "tensor-negative": (tensors(UNET, field("conv_in.bias", shape=[-64])), f"{UNET}: header is not valid"),
}


@pytest.mark.parametrize("case", CASES)
def test_broken_weights(case: str, tmp_path: Path) -> None:
    check(*CASES[case], tmp_path)
