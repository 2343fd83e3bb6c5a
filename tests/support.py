"""What the tests of the Python package share: the loaded model, a small picture, broken models, real processes."""

import functools
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sd_rbee import GenerationResult, Pipeline, models
from sd_rbee.spec import GenerationParameters

POLLEN = models.available()["pollen"]
SMALL = ["--steps", "1", "--width", "24", "--height", "16"]
PHASES = ["encode", "prepare", "denoise", "decode"]

Tensors = dict[str, dict[str, Any]]


@functools.cache
def pollen() -> Pipeline:
    """The embedded model, loaded once."""
    return Pipeline.load()


def small(**changes: object) -> GenerationParameters:
    """Parameters of a picture that takes a few milliseconds; the changes may be anything, also what is not allowed."""
    return cast("GenerationParameters", {"height": 16, "width": 24, "num_inference_steps": 2, "seed": 7, **changes})


def endless(**changes: object) -> GenerationParameters:
    """Parameters of a generation that takes minutes, for what ends it earlier."""
    return cast("GenerationParameters", {"num_inference_steps": 1000, "num_images_per_prompt": 16, **changes})


def pixels(result: GenerationResult, index: int = 0) -> NDArray[np.uint8]:
    """A picture as (height, width, 3)."""
    return np.asarray(result.pixels[index])


def run(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Python with these arguments and these more environment variables, to its end."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=60,
        check=False,
    )


def cli(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command `sd-rbee` with these arguments, to its end."""
    return run("-m", "sd_rbee", *arguments, cwd=cwd, env=env)


def draw(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`sd-rbee generate` of a small picture of a robot."""
    return cli("generate", "a robot", *SMALL, *arguments, cwd=cwd)


def copy_model(folder: Path) -> Path:
    """The embedded model in `folder`/model, linked file by file; `replace` breaks a copy, not the model."""

    def link(source: str, target: str) -> None:
        try:
            Path(target).symlink_to(source)
        except OSError:
            # Windows lets not everybody make links.
            shutil.copyfile(source, target)

    return Path(shutil.copytree(POLLEN.resolve(), folder / "model", copy_function=link))


def replace(path: Path, data: bytes) -> None:
    """Writes a file in the place of a link."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def edit_json(path: Path, **changes: object) -> None:
    """Sets keys of a JSON object in the place of a link."""
    replace(path, json.dumps({**json.loads(path.read_text()), **changes}).encode())


def read_safetensors(path: Path) -> tuple[Tensors, bytes]:
    """Header and data."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_safetensors(path: Path, header: Tensors, data: bytes) -> None:
    """Writes header and data in the place of a link."""
    text = json.dumps(header).encode()
    replace(path, struct.pack("<Q", len(text)) + text + data)
