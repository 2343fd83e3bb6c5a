"""Draws the picture of the README: `python -m tools.gallery docs/gallery.png`."""

import sys
from pathlib import Path

from PIL import Image

import sd_rbee

COLUMNS = 6
GAP = 8
PROMPTS = [
    "a robot",
    "a red apple",
    "an owl",
    "a guitar",
    "a pizza on a blue background",
    "a smiley with sunglasses",
    "a rocket",
    "a cactus",
    "a penguin on a yellow background",
    "a house",
    "a car",
    "a frog",
]


def draw(prompts: list[str], *, seed: int) -> Image.Image:
    """All prompts in rows of `COLUMNS`, each with the model's own defaults."""
    pictures = [sd_rbee.generate(prompt, seed=seed).images[0] for prompt in prompts]
    side = pictures[0].width + GAP
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * side - GAP, rows * side - GAP), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % COLUMNS * side, index // COLUMNS * side))
    return sheet


if __name__ == "__main__":
    draw(PROMPTS, seed=2).save(Path(sys.argv[1]))
