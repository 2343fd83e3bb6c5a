"""What has been computed so far, as Markdown."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tools.parity_full.engine import DIFFUSERS, DTYPES, OURS

_MISSING = "-"


def memory_file(results: Path, engine: str, dtype: str, size: int | None) -> Path:
    """Where the memory of a picture is written down."""
    return results / engine / f"memory-{dtype}-{size or 'own'}.json"


def parity(folder: Path, models: Sequence[str], parts: Sequence[str]) -> str:
    """How far our outputs are from those of diffusers, both in f32."""
    return _table(
        ("model", "part", "output", "relative RMS", "largest difference", "RMS of the output"),
        (row for model in models for part in parts if (row := _parity_row(folder / model / "results", model, part))),
    )


def memory(folder: Path, models: Sequence[str], size: int | None) -> str:
    """Peaks of whole processes."""
    return _table(
        ("model", "engine", "dtype", "loaded, GiB", "after a picture of one step, GiB"),
        _memory_rows(folder, models, size),
    )


def _parity_row(results: Path, model: str, part: str) -> tuple[str, ...] | None:
    paths = [results / engine / f"{part}.npy" for engine in (OURS, DIFFUSERS)]
    if not all(path.exists() for path in paths):
        return None
    ours, theirs = (np.load(path).astype(np.float64) for path in paths)
    if ours.shape != theirs.shape:
        return model, part, f"{ours.shape}, not {theirs.shape}", *[_MISSING] * 3
    rms, difference = np.sqrt(np.mean(theirs**2)), ours - theirs
    relative = np.sqrt(np.mean(difference**2)) / rms
    shape = " x ".join(map(str, ours.shape))
    return model, part, shape, f"{relative:.1e}", f"{np.max(np.abs(difference)):.1e}", f"{rms:.3g}"


def _memory_rows(folder: Path, models: Sequence[str], size: int | None) -> Iterator[tuple[str, ...]]:
    for model in models:
        for engine, dtypes in DTYPES.items():
            for dtype in dtypes:
                path = memory_file(folder / model / "results", engine, dtype, size)
                if path.exists():
                    peaks = json.loads(path.read_text(encoding="utf-8"))
                    yield model, engine, dtype, f"{peaks['loaded']:.2f}", f"{peaks['drawn']:.2f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
