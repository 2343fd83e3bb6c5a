"""What has been computed so far, as Markdown."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.metrics import psnr, relative_rms, rms
from tools.parity_full.engine import DIFFUSERS, DTYPES, OURS

_MISSING = "-"


def memory_file(results: Path, engine: str, dtype: str, what: str) -> Path:
    """Where it is written down what memory a picture takes: `what` is the size of its sides, or `load` for none."""
    return results / engine / f"memory-{dtype}-{what}.json"


def parity(folder: Path, models: Sequence[str], parts: Sequence[str]) -> str:
    """How far our outputs are from those of diffusers, both in f32."""
    return _table(
        ("model", "part", "output", "relative RMS", "largest difference", "RMS of the output"),
        (row for model in models for part in parts if (row := _parity_row(folder / model / "results", model, part))),
    )


def pictures(folder: Path, models: Sequence[str], tasks: Sequence[str]) -> str:
    """How far our pictures are from those of diffusers, both in f32."""
    return _table(
        ("model", "task", "picture", "PSNR, dB", "values that differ", "largest difference, of 255"),
        (row for model in models for task in tasks if (row := _picture_row(folder / model / "results", model, task))),
    )


def memory(folder: Path, models: Sequence[str], what: str) -> str:
    """Peaks of whole processes."""
    return _table(
        ("model", "engine", "dtype", "loaded, GiB", "after a picture of one step, GiB"),
        _memory_rows(folder, models, what),
    )


def _picture_row(results: Path, model: str, task: str) -> tuple[str, ...] | None:
    if (outputs := _outputs(results, task)) is None:
        return None
    ours, theirs = outputs
    difference = ours - theirs
    decibels = f"{psnr(ours, theirs):.0f}" if difference.any() else "equal"
    size = f"{ours.shape[1]} x {ours.shape[0]}"
    return model, task, size, decibels, f"{np.mean(difference != 0):.2%}", f"{np.max(np.abs(difference)):.0f}"


def _outputs(results: Path, part: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Ours and theirs; None where one is missing."""
    paths = [results / engine / f"{part}.npy" for engine in (OURS, DIFFUSERS)]
    if not all(path.exists() for path in paths):
        return None
    ours, theirs = (np.load(path).astype(np.float64) for path in paths)
    return ours, theirs


def _parity_row(results: Path, model: str, part: str) -> tuple[str, ...] | None:
    if (outputs := _outputs(results, part)) is None:
        return None
    ours, theirs = outputs
    if ours.shape != theirs.shape:
        return model, part, f"{ours.shape}, not {theirs.shape}", *[_MISSING] * 3
    shape, largest = " x ".join(map(str, ours.shape)), np.max(np.abs(ours - theirs))
    return model, part, shape, f"{relative_rms(ours, theirs):.1e}", f"{largest:.1e}", f"{rms(theirs):.3g}"


def _memory_rows(folder: Path, models: Sequence[str], what: str) -> Iterator[tuple[str, ...]]:
    for model in models:
        for engine, dtypes in DTYPES.items():
            for dtype in dtypes:
                path = memory_file(folder / model / "results", engine, dtype, what)
                if path.exists():
                    peaks = json.loads(path.read_text(encoding="utf-8"))
                    drawn = f"{peaks['drawn']:.2f}" if "drawn" in peaks else _MISSING
                    yield model, engine, dtype, f"{peaks['loaded']:.2f}", drawn


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
