"""What is meant by `owner/name@revision:file.safetensors`."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

MAIN = "main"
Variant = Literal["auto", "fp16", "none"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_LENGTH = 500
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REFERENCE = re.compile(rf"({_NAME}/{_NAME})(?:@([A-Za-z0-9_][A-Za-z0-9_./+-]*))?(?::([^:@]+\.safetensors))?")
_WINDOWS = re.compile(r"[\\:]")


@dataclass(frozen=True, slots=True)
class Reference:
    """A model of the hub.

    Attributes:
        repo: Owner and name.
        revision: A branch, a tag or a commit.
        file: The one file that is the model, for a repository of single files.
    """

    repo: str
    revision: str = MAIN
    file: str | None = None

    @property
    def key(self) -> str:
        """Which of a repository's models it is."""
        return self.revision if self.file is None else f"{self.revision}:{self.file}"

    def __str__(self) -> str:
        revision = "" if self.revision == MAIN else f"@{self.revision}"
        return f"{self.repo}{revision}{'' if self.file is None else f':{self.file}'}"


def parse(text: str) -> Reference | None:
    """The reference that a text is, None for what no model of the hub can be called."""
    match = _REFERENCE.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        return None
    repo, revision, file = match[1], match[2] or MAIN, match[3]
    # The hub has no such names, and its cache keeps owner and name apart by `--`.
    if "--" in repo or ".." in repo or not is_safe(revision) or not (file is None or is_safe(file)):
        return None
    return Reference(repo, revision, file)


def is_safe(path: str) -> bool:
    """Whether a path of a repository stays in the folder that it is joined to, on every system."""
    return path.isprintable() and not _WINDOWS.search(path) and not {"", ".", ".."} & set(path.split("/"))
