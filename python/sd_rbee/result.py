"""What a generation gives."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sd_rbee import images as files
from sd_rbee.backend import native


@dataclass(frozen=True)
class GenerationResult:
    """The pictures of one call, and how they came about.

    Attributes:
        images: The pictures; each carries its parameters in `info`, as it does when read from a saved PNG.
        pixels: The same pictures in the engine's memory: `numpy.asarray(result.pixels[0])` copies nothing.
        seeds: Each picture's own seed; with it alone the same picture comes again.
        timings: Seconds by phase: encode, prepare, denoise, decode, total.
        truncations: Prompts that were longer than the model can read, and what it did not see.
        warnings: What was given and had no effect, in words.
        residency_events: What moved or grew in memory since the model was loaded; empty when nothing did.
        parameters: Everything that was used, defaults filled in.
    """

    images: list[Image.Image]
    pixels: list[native.Image]
    seeds: list[int]
    timings: dict[str, float]
    truncations: list[native.Truncation]
    warnings: list[str]
    residency_events: list[str]
    parameters: dict[str, Any]

    def save(self, path: str | os.PathLike[str]) -> list[Path]:
        """Saves the pictures with their parameters, replacing files of these names; each is whole or not there.

        Args:
            path: A name ending in .png, .jpg, .jpeg or .webp; several pictures become a-1.png, a-2.png … of a.png.

        Returns:
            The paths written.
        """
        path = Path(path)
        format = files.format_of(path)
        paths = files.numbered(path, len(self.images))
        for target, image in zip(paths, self.images, strict=True):
            files.write(target, files.encode(image, format))
        return paths
