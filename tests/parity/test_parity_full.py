"""The comparison at published widths, run on a tiny model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fidelity
import needs_torch  # noqa: F401

pytestmark = pytest.mark.parity

_ROOT = Path(__file__).parents[2]


def _run(folder: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.parity_full", folder, "--models", "tiny-xl", "--threads", "1", "--parts", *parts],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_tables_hold_what_was_computed_and_a_second_run_computes_nothing(tmp_path: Path) -> None:
    parts = ("text", "pooled", "unet", "decode", "encode")
    first = _run(tmp_path, *parts)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in first.stdout.splitlines() if "tiny-xl" in line]
    assert [row[1] for row in rows] == list(parts)
    assert all(0 < float(row[3]) <= fidelity.NETWORK for row in rows)
    again = _run(tmp_path, *parts)
    assert again.stdout == first.stdout
    assert again.stderr == ""


def test_pictures_are_the_same(tmp_path: Path) -> None:
    tasks = ("text-to-image", "image-to-image", "inpaint")
    told = _run(tmp_path, *tasks).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if "tiny-xl" in line]
    assert [row[1] for row in rows] == list(tasks)
    assert all(row[3] == "equal" or float(row[3]) >= fidelity.PICTURE_PSNR for row in rows)


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_memory_is_measured_of_each_engine_and_dtype(tmp_path: Path) -> None:
    rows = [line.split("|")[1:-1] for line in _run(tmp_path, "memory").stdout.splitlines() if "tiny-xl" in line]
    assert [(row[1].strip(), row[2].strip()) for row in rows] == [
        *(("sd-rbee", dtype) for dtype in ("f32", "bf16", "int8")),
        *(("diffusers", dtype) for dtype in ("f32", "bf16")),
    ]
    assert all(0 < float(row[3]) <= float(row[4]) for row in rows)
