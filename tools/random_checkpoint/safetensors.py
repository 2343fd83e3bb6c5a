"""Writing of safetensors files, one piece of one tensor in memory at a time."""

import json
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.random_checkpoint.config import Dtype
from tools.random_checkpoint.tensors import Specs, TensorSpec

_NAMES: dict[Dtype, str] = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
_BYTES: dict[Dtype, int] = {"f32": 4, "f16": 2, "bf16": 2}
_PIECE = 1 << 22


def write_safetensors(path: Path, specs: Specs, dtype: Dtype, seed: int) -> None:
    """Writes random tensors. Values depend on the seed and the tensor's name alone, not on what else is written.

    The file gets its name when it is whole.
    """
    tensors = list(specs)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(_header(tensors, dtype))
        for spec in tensors:
            for values in _values(spec, seed):
                file.write(_stored(values, dtype))
    part.replace(path)


def _header(tensors: list[TensorSpec], dtype: Dtype) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for spec in tensors:
        start, end = end, end + prod(spec.shape) * _BYTES[dtype]
        entries[spec.name] = {"dtype": _NAMES[dtype], "shape": spec.shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    # Padded, so that every tensor is aligned when the file is mapped.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _values(spec: TensorSpec, seed: int) -> Iterator[NDArray[np.float32]]:
    generator = np.random.default_rng([seed, zlib.crc32(spec.name.encode())])
    left = prod(spec.shape)
    while left > 0:
        values = generator.standard_normal(min(left, _PIECE), dtype=np.float32)
        left -= len(values)
        values *= np.float32(spec.std)
        values += np.float32(spec.mean)
        yield values


def _stored(values: NDArray[np.float32], dtype: Dtype) -> bytes:
    if dtype == "bf16":
        bits = values.view(np.uint32)
        # The upper half of the float32, rounded to nearest even.
        return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")).tobytes()
    return values.astype("<f2" if dtype == "f16" else "<f4").tobytes()
