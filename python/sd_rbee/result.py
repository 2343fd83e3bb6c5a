"""What a generation gives."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sd_rbee import images as files
from sd_rbee.backend import native
from sd_rbee.checks import shorten


@dataclass(frozen=True)
class GenerationResult:
    """The pictures of one call, and how they came about.

    Attributes:
        images: The pictures; each carries its parameters in `info`, as it does when read from a saved PNG.
        pixels: The same pictures in the engine's memory: `numpy.asarray(result.pixels[0])` copies nothing.
        seeds: Each picture's own seed; with it alone the same picture comes again.
        timings: Seconds by phase: encode, prepare, denoise, decode, total.
        peak_memory: The most bytes, the model's own included, in use at one time in each phase: the text encoder
            computes in encode, the UNet in denoise, the VAE in decode.
        truncations: Prompts that were longer than the model can read, and what it did not see.
        warnings: What was given and had no effect, and how an image was changed to be drawn over, in words.
        image_changes: The second part of them.
        residency_events: What moved or grew in memory since the model was loaded; empty when nothing did.
        parameters: Everything that was used, defaults filled in.
    """

    images: list[Image.Image]
    pixels: list[native.Image]
    seeds: list[int]
    timings: dict[str, float]
    peak_memory: dict[str, int]
    truncations: list[native.Truncation]
    warnings: list[str]
    image_changes: list[str]
    residency_events: list[str]
    parameters: dict[str, Any]

    @property
    def notes(self) -> list[str]:
        """What was cut off, changed or had no effect, in words."""
        return [*map(describe_truncation, self.truncations), *self.warnings]

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


def describe_truncation(cut: native.Truncation) -> str:
    """What the model did not see of a prompt, in words."""
    return f"{cut.prompt} has {cut.total} tokens, {cut.kept} were read; not seen: {shorten(cut.dropped_text)}"
