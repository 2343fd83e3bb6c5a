"""The things' pictures with their transparency, and scenes drawn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tools.pollen import captions, things
from tools.pollen.errors import RecipeError
from tools.pollen.files import whole
from tools.pollen.scenes import SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tools.pollen.scenes import Scene
    from tools.pollen.settings import Settings


def run(settings: Settings) -> dict[str, Any]:
    """Write `pictures.npy`, uint8 `[things, 128, 128, 4]`, red, green, blue and straight alpha."""
    chosen = things.read_choice()
    pictures = np.stack([read(settings.raw / "assets" / f"{thing.hexcode}.webp") for thing in chosen])
    with whole(settings.pictures) as draft, draft.open("wb") as file:
        np.save(file, pictures)
    return {"pictures": len(chosen), "covered": round(float(pictures[..., 3].mean()) / 255, 3)}


def read(path: Path) -> NDArray[np.uint8]:
    """Return one picture, uint8 `[128, 128, 4]`; one that is not square stands in the middle of a square.

    Raises:
        RecipeError: It has no transparency.
    """
    with Image.open(path) as image:
        if not image.has_transparency_data:
            raise RecipeError(f"{path}: mode {image.mode} was given, allowed is a picture with transparency")
        side = max(image.size)
        square = Image.new("RGBA", (side, side))
        square.paste(image.convert("RGBA"), ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS), dtype=np.uint8)


def load(path: Path) -> NDArray[np.uint8]:
    """Read `pictures.npy`."""
    pictures: NDArray[np.uint8] = np.load(path)
    return pictures


def draw(scene: Scene, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a scene's picture, uint8 `[128, 128, 3]`."""
    canvas = Image.new("RGBA", (SIZE, SIZE), (*captions.COLOURS[scene.colour], 255))
    for placed in scene.placed:
        image = Image.fromarray(pictures[placed.thing])
        if placed.size != SIZE:
            image = image.resize((placed.size, placed.size), Image.Resampling.LANCZOS)
        canvas.alpha_composite(image, (placed.x, placed.y))
    return np.asarray(canvas.convert("RGB"), dtype=np.uint8)
