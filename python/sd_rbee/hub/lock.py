"""The lock file of a repository: which commit its models are pinned to, and what their files were when they came."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sd_rbee.errors import CheckpointError
from sd_rbee.hub import cache
from sd_rbee.hub.reference import COMMIT, VARIANTS, Reference, Variant, is_safe

NAME = "sd-rbee.lock.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class LockedFile:
    """What a file was when it was downloaded.

    Attributes:
        size: In bytes.
        sha256: Of its bytes, in hexadecimal digits.
    """

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pull:
    """A model that was downloaded.

    Attributes:
        reference: What it was asked for as.
        commit: Which it is pinned to.
        variant: Which weights were chosen: auto, fp16 or none.
        root: The file that is the model; None where it is a folder.
        files: All that was downloaded of it, by the paths in the repository.
    """

    reference: Reference
    commit: str
    variant: Variant
    root: str | None
    files: dict[str, LockedFile]

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return cache.snapshot(self.reference.repo, self.commit)

    @property
    def path(self) -> Path:
        """What is to be loaded."""
        return self.folder if self.root is None else self.folder / self.root

    @property
    def size(self) -> int:
        """Of all its files, in bytes."""
        return sum(file.size for file in self.files.values())


def read(repo: str) -> dict[str, Pull]:
    """The models of a repository that were pulled, by their keys.

    Raises:
        CheckpointError: The lock file is damaged.
    """
    path = _path(repo)
    try:
        text = path.read_bytes()
    except OSError:
        return {}
    try:
        content = json.loads(text)
        if content["version"] != _VERSION or content["repo"] != repo:
            raise ValueError(content["version"])
        pulls = (_pull(repo, entry) for entry in content["pulls"])
        return {pull.reference.key: pull for pull in pulls}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Deleted, it costs a pull of files that are there.
        raise CheckpointError(f"{path} is no lock file of this version; delete it and pull {repo} again") from None


def find(reference: Reference) -> Pull | None:
    """The pull that a reference means, by branch or tag or by the commit that it is pinned to.

    Raises:
        CheckpointError: The lock file is damaged.
    """
    pulls = read(reference.repo)
    if pull := pulls.get(reference.key):
        return pull
    if len(reference.revision) < 7:
        return None
    same = (pull for pull in pulls.values() if pull.reference.file == reference.file)
    return next((pull for pull in same if pull.commit.startswith(reference.revision)), None)


def all_pulls() -> list[Pull]:
    """All that was pulled, by repository and revision.

    Raises:
        CheckpointError: A lock file is damaged.
    """
    return [pull for repo in cache.repositories() for _, pull in sorted(read(repo).items())]


def write(pull: Pull) -> None:
    """Adds a pull to its repository's lock file, in the place of the one before. The caller holds the lock.

    Raises:
        CheckpointError: The lock file that is there is damaged.
        OSError: It cannot be written.
    """
    repo = pull.reference.repo
    pulls = {**read(repo), pull.reference.key: pull}
    content = {"version": _VERSION, "repo": repo, "pulls": [_entry(pulls[key]) for key in sorted(pulls)]}
    cache.replace(_path(repo), f"{json.dumps(content, indent=2)}\n".encode())


def _path(repo: str) -> Path:
    return cache.repository(repo) / NAME


def _entry(pull: Pull) -> dict[str, Any]:
    reference = pull.reference
    return {
        "revision": reference.revision,
        "file": reference.file,
        "commit": pull.commit,
        "variant": pull.variant,
        "root": pull.root,
        "files": {name: asdict(pull.files[name]) for name in sorted(pull.files)},
    }


def _pull(repo: str, entry: dict[str, Any]) -> Pull:
    """One entry, whose paths lead nowhere but into the cache."""
    files = {name: LockedFile(int(file["size"]), str(file["sha256"])) for name, file in entry["files"].items()}
    reference = Reference(repo, str(entry["revision"]), entry["file"])
    root, variant = entry["root"], {variant: variant for variant in VARIANTS}[entry["variant"]]
    if not COMMIT.fullmatch(entry["commit"]) or not all(map(is_safe, files)) or not (root is None or root in files):
        raise ValueError(entry["commit"])
    return Pull(reference, entry["commit"], variant, root, files)
