"""What the hub says of a repository: the commit that a revision is at, and what its files are."""

import re
from dataclasses import dataclass

from sd_rbee.errors import CheckpointError
from sd_rbee.hub.reference import COMMIT

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        name: Path in the repository.
        size: In bytes.
        sha256: Of its bytes, where the hub stores it as a large file.
        git_blob_sha1: What git calls it; for a large file, what git calls its pointer.
    """

    name: str
    size: int
    sha256: str | None
    git_blob_sha1: str

    @property
    def oid(self) -> str:
        """What its bytes are called in the cache."""
        return self.sha256 or self.git_blob_sha1


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit.

    Attributes:
        name: Owner and name.
        commit: Forty hexadecimal digits.
        files: All its files, by their paths.
    """

    name: str
    commit: str
    files: dict[str, RemoteFile]


def ask(name: str, revision: str) -> Repository:
    """Asks the hub for a repository at a branch, a tag or a commit.

    Raises:
        CheckpointError: The answer is none that a hub gives, such as paths that lead out of the repository.
        Exception: Whatever huggingface_hub and its HTTP client raise, which `failures.explained` explains.
    """
    from huggingface_hub import HfApi, constants

    try:
        info = HfApi(library_name="sd-rbee").model_info(
            name, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{constants.ENDPOINT} does not answer as a hub does: {error!r}"[:300]) from error
    if not isinstance(info.sha, str) or not COMMIT.fullmatch(info.sha):
        raise CheckpointError(f"{constants.ENDPOINT} names no commit")
    files = (
        _file(sibling.rfilename, sibling.size, sibling.lfs.sha256 if sibling.lfs else None, sibling.blob_id)
        for sibling in info.siblings or ()
    )
    return Repository(name, info.sha, {file.name: file for file in files})


def _file(name: object, size: object, sha256: object, blob: object) -> RemoteFile:
    if not isinstance(name, str) or leads_out(name):
        raise CheckpointError(f"the hub lists {name!r:.200}, which is no path inside of a repository")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise CheckpointError(f"the hub does not say how large {name} is")
    has_sha256 = sha256 is None or (isinstance(sha256, str) and _SHA256.fullmatch(sha256))
    if not has_sha256 or not isinstance(blob, str) or not COMMIT.fullmatch(blob):
        raise CheckpointError(f"the hub does not say what {name} hashes to")
    return RemoteFile(name, size, None if sha256 is None else str(sha256), blob)


def leads_out(name: str) -> bool:
    """Whether a path may lead out of the folder that it is joined to, on some system."""
    parts = re.split(r"[/\\]", name)
    return "" in parts or ".." in parts or "\0" in name or bool(re.match(r"[A-Za-z]:", name))
