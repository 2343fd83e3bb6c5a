"""One file from the hub into the cache: what broke off goes on, and nothing wrong gets in."""

import io
import time
from collections.abc import Callable
from pathlib import Path

from sd_rbee.errors import CheckpointError
from sd_rbee.hub import cache, verify
from sd_rbee.hub.repository import RemoteFile, Repository

# Tries after one that brought nothing, the seconds before the first of them, and what a hub that is busy answers.
_RETRIES = 5
_SECONDS = 0.5
_BUSY = {408, 429, 500, 502, 503, 504}
_NO_SUCH_RANGE = 416

OnBytes = Callable[[int], object]


def at_hand(repository: Repository, file: RemoteFile) -> Path | None:
    """Where the cache has a file of this size and name, whoever put it there."""
    for path in (cache.snapshot(repository.name, repository.commit) / file.name, _blob(repository, file)):
        if path.is_file() and path.stat().st_size == file.size:
            return path
    return None


def missing_bytes(repository: Repository, file: RemoteFile) -> int:
    """How many bytes of a file are yet to come."""
    if at_hand(repository, file):
        return 0
    partial = _partial(repository, file)
    return file.size - (min(partial.stat().st_size, file.size) if partial.is_file() else 0)


def fetch(repository: Repository, file: RemoteFile, on_bytes: OnBytes) -> Path:
    """Sees to it that a file is in the cache, in its place at the repository's commit, and is what the hub lists.

    The caller holds the repository's lock.

    Args:
        repository: Whose file.
        file: Which.
        on_bytes: Called with how many of its bytes are there.

    Raises:
        CheckpointError: What came is not what the hub lists; it is not kept.
        Exception: Whatever huggingface_hub and its HTTP client raise, which `failures.explained` explains.
    """
    place = cache.snapshot(repository.name, repository.commit) / file.name
    found = at_hand(repository, file)
    if found is None or _difference(found, file):
        found = _download(repository, file, on_bytes)
    if found != place:
        cache.link(found, place)
    on_bytes(file.size)
    return place


def _download(repository: Repository, file: RemoteFile, on_bytes: OnBytes) -> Path:
    blob, partial = _blob(repository, file), _partial(repository, file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.is_file() and partial.stat().st_size > 0
    _receive(repository, file, partial, on_bytes)
    difference = _difference(partial, file)
    if difference and resumed:
        # It may be the earlier part that is wrong.
        partial.unlink()
        _receive(repository, file, partial, on_bytes)
        difference = _difference(partial, file)
    if difference:
        partial.unlink()
        raise CheckpointError(f"{file.name} is not what the hub lists: {difference}")
    partial.replace(blob)
    return blob


def _receive(repository: Repository, file: RemoteFile, partial: Path, on_bytes: OnBytes) -> None:
    """Appends what is missing of a file, with a new request each time that one breaks off."""
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError

    failures = 0
    with partial.open("ab") as target:
        if target.tell() > file.size:
            target.truncate(0)
            target.seek(0)
        while target.tell() < file.size:
            before = target.tell()
            try:
                _append(repository, file, target, on_bytes)
                # Ended well, and too early or too late: what it has is not what is listed.
                break
            except (TransportError, HfHubHTTPError) as error:
                status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
                if status == _NO_SUCH_RANGE and before:
                    target.truncate(0)
                    target.seek(0)
                elif status is not None and status not in _BUSY:
                    raise
                failures = 1 if target.tell() > before else failures + 1
                if failures > _RETRIES:
                    raise
                time.sleep(_SECONDS * 2 ** (failures - 1))


def _append(repository: Repository, file: RemoteFile, target: io.BufferedWriter, on_bytes: OnBytes) -> None:
    """One request for the rest of a file."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    begin = target.tell()
    # The HTTP client leaves the token out where the hub sends it on to another host.
    headers = {**build_hf_headers(library_name="sd-rbee"), "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    url = hf_hub_url(repository.name, file.name, revision=repository.commit)
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        if begin and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            # The whole file, although its rest was asked for.
            target.truncate(0)
            target.seek(0)
        for data in response.iter_bytes():
            target.write(data)
            on_bytes(min(target.tell(), file.size))
            if target.tell() > file.size:
                break
    target.flush()


def _difference(path: Path, file: RemoteFile) -> str | None:
    """What is wrong with the bytes at `path`."""
    size = path.stat().st_size
    if size != file.size:
        return f"it has {size} bytes, not {file.size}"
    if file.sha256 is not None:
        kind, digest = "sha256", verify.sha256(path)
    else:
        kind, digest = "git hash", verify.git_blob_sha1(path)
    return None if digest == file.oid else f"its {kind} is {digest}, not {file.oid}"


def _blob(repository: Repository, file: RemoteFile) -> Path:
    return cache.blob(repository.name, file.oid)


def _partial(repository: Repository, file: RemoteFile) -> Path:
    blob = _blob(repository, file)
    return blob.with_name(f"{blob.name}.sd-rbee.incomplete")
