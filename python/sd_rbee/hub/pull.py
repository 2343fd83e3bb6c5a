"""A model from the hub, or what of it is not at hand yet, downloaded and pinned."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sd_rbee.errors import CheckpointError, DownloadError, ModelNotFoundError
from sd_rbee.hub import cache, lock, repository, transfer, verify
from sd_rbee.hub.failures import ROOM, explained
from sd_rbee.hub.lock import LockedFile, Pull
from sd_rbee.hub.progress import OnProgress, Progress
from sd_rbee.hub.reference import COMMIT, Reference, Variant
from sd_rbee.hub.repository import RemoteFile, Repository
from sd_rbee.hub.selection import Selection, select

_MAX_JSON_BYTES = 16 << 20


def find(reference: Reference) -> Path | None:
    """Where a model is that was pulled, or that others downloaded whole, without the network.

    Raises:
        CheckpointError: The lock file is damaged.
    """
    if found := lock.find(reference):
        return None if verify.damages(found, sizes_only=True) else found.path
    return _downloaded_by_others(reference)


def pull(
    reference: Reference, *, variant: Variant | None = None, update: bool = False, on_progress: OnProgress | None = None
) -> Pull:
    """Downloads what is missing of a model, checks all its files, and pins the commit that they are of.

    A model that is whole and right is not asked for again. Several processes may pull at once: one works, the others
    wait for it.

    Args:
        reference: Which model.
        variant: Which weights: `auto` takes those in f16 where a component has them, `fp16` nothing else, `none` those
            without a variant; None what was chosen before, else `auto`.
        update: Whether to move to the commit that the branch or tag is at now.
        on_progress: Called as bytes come or are checked.

    Raises:
        ModelNotFoundError: There is no such repository, revision or file, or no model in it.
        DownloadError: It could not be downloaded.
        CheckpointError: Its files are not what the hub lists, or none that the engine can read.
        InvalidParamsError: There is no such variant.
    """
    from huggingface_hub.utils import WeakFileLock

    on_progress = on_progress or (lambda _: None)
    with explained(reference):
        guard = cache.lock_file(reference.repo)
        guard.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(guard):
            pinned = lock.read(reference.repo).get(reference.key)
            wanted = variant or (pinned.variant if pinned else "auto")
            if pinned and not update and wanted == pinned.variant and not _damaged(pinned, on_progress):
                return pinned
            commit = pinned.commit if pinned and not update else reference.revision
            there = repository.ask(reference.repo, commit)
            return _download(reference, there, wanted, pinned, on_progress)


def _download(
    reference: Reference, there: Repository, variant: Variant, pinned: Pull | None, on_progress: OnProgress
) -> Pull:
    def read(name: str) -> object:
        file = there.files[name]
        if file.size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{name} has {file.size} bytes, too many for what it is")
        return _json(transfer.fetch(there, file, lambda _: None))

    selection = select(there.files, read, variant, reference.file)
    files = [there.files[name] for name in selection.files]
    _check_room(there, files)
    total, before = sum(file.size for file in files), 0
    for file in files:

        def on_bytes(count: int, file: RemoteFile = file, before: int = before) -> None:
            on_progress(Progress("download", str(reference), file.name, before + count, total))

        transfer.fetch(there, file, on_bytes)
        before += file.size
    locked = {file.name: _locked(there, file) for file in files}
    if pinned and pinned.commit == there.commit:
        # The other variant's weights are in the same folder.
        damaged = verify.damages(pinned, sizes_only=True)
        locked = {**{name: file for name, file in pinned.files.items() if name not in damaged}, **locked}
    made = Pull(reference, there.commit, variant, selection.root, locked)
    lock.write(made)
    if not COMMIT.fullmatch(reference.revision):
        cache.set_commit(reference.repo, reference.revision, there.commit)
    return made


def _locked(there: Repository, file: RemoteFile) -> LockedFile:
    digest = file.sha256 or verify.sha256(cache.snapshot(there.name, there.commit) / file.name)
    return LockedFile(file.size, digest)


def _damaged(pinned: Pull, on_progress: OnProgress) -> bool:
    """Whether files are missing or other than they were when they came; sizes tell most of it soon."""
    return bool(verify.damages(pinned, sizes_only=True) or verify.damages(pinned, on_progress))


def _check_room(there: Repository, files: Iterable[RemoteFile]) -> None:
    needed = sum(transfer.missing_bytes(there, file) for file in files)
    folder = cache.repository(there.name)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{there.name} needs {needed / 1e9:.1f} GB more, and the disk of {cache.folder()} has {free / 1e9:.1f} GB "
            f"left; {ROOM}"
        )


def _downloaded_by_others(reference: Reference) -> Path | None:
    """A snapshot that huggingface_hub made for somebody else, if it has all that a model needs."""
    repo, revision = reference.repo, reference.revision
    commit = revision if COMMIT.fullmatch(revision) else cache.commit_of(repo, revision)
    if commit is None or not COMMIT.fullmatch(commit):
        return None
    folder = cache.snapshot(repo, commit)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    try:
        selection: Selection = select(names, lambda name: _json(folder / name), file=reference.file)
    except (CheckpointError, ModelNotFoundError):
        return None
    return folder if selection.root is None else folder / selection.root


def _json(path: Path) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} is not JSON: {error}") from None
