"""Where a command's pictures go."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sd_rbee import images

if TYPE_CHECKING:
    from sd_rbee.result import GenerationResult

_SLUG_LENGTH = 48


def slug(prompt: str) -> str:
    """The prompt's words as the stem of a file name."""
    words = re.sub(r"[\W_]+", "-", prompt[: 4 * _SLUG_LENGTH].lower()).strip("-")
    return words[:_SLUG_LENGTH].strip("-") or "image"


class Output:
    """Files to be written, checked before there is anything to write.

    Args:
        target: A file name, a folder, or None for the current folder. In a folder the names come from prompt and seed
            and no file is replaced; a file that was named is.
        prompt: What is drawn.
        count: How many pictures.

    Raises:
        InvalidParamsError: A name without a known suffix.
        OSError: Files cannot be written there.
    """

    def __init__(self, target: Path | None, prompt: str, count: int) -> None:
        folder = Path() if target is None else target
        self._folder = folder if folder.is_dir() else None
        self._paths = [] if self._folder is not None else images.numbered(folder, count)
        self._slug = slug(prompt)
        if self._folder is not None:
            images.check_folder(self._folder)
        else:
            images.format_of(folder)
            for path in self._paths:
                images.check_writable(path)

    def write(self, result: "GenerationResult") -> list[Path]:
        """Writes the pictures and returns their paths."""
        if self._folder is None:
            for path, picture in zip(self._paths, result.images, strict=True):
                images.write(path, images.encode(picture, images.format_of(path)))
            return self._paths
        return [
            self._write_new(self._folder, f"{self._slug}-{seed}", images.encode(picture, "PNG"))
            for picture, seed in zip(result.images, result.seeds, strict=True)
        ]

    @staticmethod
    def _write_new(folder: Path, stem: str, data: bytes) -> Path:
        number = 1
        while True:
            path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
            try:
                images.write(path, data, replace=False)
            except FileExistsError:
                number += 1
            else:
                return path
