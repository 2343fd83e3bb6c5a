"""Whether two model folders hold the same files, the same configuration keys and the same tensors."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

# Their keys are entries and merges, not settings.
VOCABULARIES = ("vocab.json",)


def differences(folder: Path, reference: Path) -> list[str]:
    """Compare a folder with a reference, values of tensors and settings left out.

    Args:
        folder: A diffusers folder.
        reference: Another one.

    Returns:
        One line a difference, sorted; none where the layout is the same.
    """
    files, expected = _files(folder), _files(reference)
    lines = [f"{name} is missing" for name in expected - files]
    lines += [f"{name} is not in the reference" for name in files - expected]
    for name in files & expected:
        mine, theirs = _shape(folder / name), _shape(reference / name)
        lines += [f"{name}: {key} is missing" for key in theirs.keys() - mine.keys()]
        lines += [f"{name}: {key} is not in the reference" for key in mine.keys() - theirs.keys()]
        lines += [
            f"{name}: {key} is {mine[key]}, not {theirs[key]}"
            for key in mine.keys() & theirs.keys()
            if mine[key] != theirs[key]
        ]
    return sorted(lines)


def tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of every tensor of a safetensors file, from its header alone."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _shape(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return dict(tensors(path))
    if path.suffix == ".json":
        contents = json.loads(path.read_text("utf-8"))
        return {"entries": len(contents)} if path.name in VOCABULARIES else dict.fromkeys(contents)
    return {}
