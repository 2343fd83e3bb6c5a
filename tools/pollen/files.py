"""Files that are either whole or absent, so that their presence says that a stage is done."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a neighbouring path to write a file or folder at, and move it into place once the block succeeds."""
    draft = path.with_name(f".{path.name}.draft")
    remove(draft)
    path.parent.mkdir(parents=True, exist_ok=True)
    yield draft
    if draft.is_dir():
        remove(path)
    draft.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, all of it or nothing."""
    with whole(path) as draft:
        draft.write_text(text, "utf-8")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
