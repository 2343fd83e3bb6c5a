"""Where huggingface_hub keeps files, in the layout that it shares with diffusers and transformers.

As huggingface_hub.constants, without the time that its import takes.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def folder() -> Path:
    """The folder of the cache, by HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME."""
    default = _expanded("XDG_CACHE_HOME", "~/.cache")
    home = _expanded("HF_HOME", f"{default}/huggingface")
    return Path(_expanded("HF_HUB_CACHE", _expanded("HUGGINGFACE_HUB_CACHE", f"{home}/hub"))).absolute()


def repository(repo: str) -> Path:
    """The folder of one repository."""
    return folder() / f"models--{repo.replace('/', '--')}"


def repositories() -> Iterator[str]:
    """The repositories in the cache, in the order of their names."""
    with contextlib.suppress(OSError):
        for path in sorted(folder().glob("models--*--*")):
            yield path.name.removeprefix("models--").replace("--", "/", 1)


def snapshot(repo: str, commit: str) -> Path:
    """The folder of a repository's files as they were at a commit."""
    return repository(repo) / "snapshots" / commit


def blob(repo: str, oid: str) -> Path:
    """The bytes of a file: called by their sha256 where the hub stores them as a large file, else by git's hash."""
    return repository(repo) / "blobs" / oid


def lock_file(repo: str) -> Path:
    """What a process holds while it changes a repository's folder."""
    return folder() / ".locks" / repository(repo).name / "sd-rbee.lock"


def commit_of(repo: str, revision: str) -> str | None:
    """The commit that a branch or a tag was at when it was last downloaded."""
    try:
        return (repository(repo) / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def set_commit(repo: str, revision: str, commit: str) -> None:
    """Notes at which commit a branch or a tag is."""
    replace(repository(repo) / "refs" / revision, commit.encode())


def link(blob: Path, path: Path) -> None:
    """Makes `path` the file whose bytes are those of `blob`; they move there where links cannot be made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        path.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:
        if path.is_symlink():
            raise
        shutil.move(blob, path)


def replace(path: Path, data: bytes) -> None:
    """Writes a file that others see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _expanded(variable: str, default: str) -> str:
    # As huggingface_hub: what is set to nothing is set.
    return os.path.expandvars(Path(os.environ.get(variable, default)).expanduser())
