"""Images to draw over: noise that no resize leaves alone, and files as cameras and programs write them."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def noise(width: int, height: int, mode: str = "RGB", seed: int = 5) -> Image.Image:
    """Random pixels; smooth enough that a file of them stays small is not asked for."""
    random = np.random.default_rng(seed)
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    pixels = random.integers(0, 256, (height, width, channels), np.uint8)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def blob(width: int, height: int) -> Image.Image:
    """A mask that is white in the middle half."""
    mask = Image.new("L", (width, height))
    mask.paste(
        255, (width // 4, height // 4, max(width // 4 + 1, 3 * width // 4), max(height // 4 + 1, 3 * height // 4))
    )
    return mask


def file_of(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - PIL's own
    """The picture as a file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def values(picture: Image.Image) -> NDArray[np.uint8]:
    """The picture as an array."""
    return np.asarray(picture)
