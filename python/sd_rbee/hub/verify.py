"""Whether files are what the hub says, or what they were when they came."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from sd_rbee.hub.lock import LockedFile, Pull
from sd_rbee.hub.progress import OnProgress, Progress

_CHUNK = 1 << 20


def sha256(path: Path, on_bytes: Callable[[int], object] = lambda _: None) -> str:
    """The sha256 of a file's bytes."""
    return _digest(hashlib.sha256(), path, on_bytes)


def git_blob_sha1(path: Path) -> str:
    """What git calls a file: the sha1 of `blob`, its size, a NUL and its bytes."""
    hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    return _digest(hasher, path, lambda _: None)


def damages(pull: Pull, on_progress: OnProgress | None = None, *, sizes_only: bool = False) -> dict[str, str]:
    """What is wrong with a pull's files, by their paths.

    Args:
        pull: Whose files.
        on_progress: Called as they are read.
        sizes_only: Whether to believe every file that is as large as it was.
    """
    found: dict[str, str] = {}
    completed = 0
    for name, file in pull.files.items():

        def on_bytes(count: int, name: str = name) -> None:
            nonlocal completed
            completed += count
            if on_progress is not None:
                on_progress(Progress("check", str(pull.reference), name, completed, pull.size))

        if damage := _damage(pull.folder / name, file, None if sizes_only else on_bytes):
            found[name] = damage
    return found


def _damage(path: Path, file: LockedFile, on_bytes: Callable[[int], object] | None) -> str | None:
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"has {size} bytes, not {file.size}"
        digest = file.sha256 if on_bytes is None else sha256(path, on_bytes)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest == file.sha256 else f"has the sha256 {digest}, not {file.sha256}"


def _digest(hasher: "hashlib._Hash", path: Path, on_bytes: Callable[[int], object]) -> str:
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            hasher.update(data)
            on_bytes(len(data))
    return hasher.hexdigest()
