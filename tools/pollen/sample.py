"""A contact sheet that diffusers draws with the exported folder, and the report of the whole run."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageDraw

from tools.pollen.device import place
from tools.pollen.export import GENERATION
from tools.pollen.files import whole
from tools.pollen.networks import diffusers
from tools.pollen.report import say

if TYPE_CHECKING:
    from tools.pollen.settings import Settings

COLUMNS = 4
LINES, LINE_HEIGHT, LETTER_WIDTH = 3, 12, 6


def run(settings: Settings) -> dict[str, Any]:
    """Write `sheet.png`: a picture a prompt, its seed the settings' plus its place."""
    device = place(settings)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(settings.model).to(device, torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    images = []
    for at, prompt in enumerate(settings.prompts):
        generator = torch.Generator().manual_seed(settings.seed + at)
        images += pipeline(prompt, generator=generator, **GENERATION).images
        say(f"sample: {prompt}")
    with whole(settings.sheet) as draft:
        sheet(images, list(settings.prompts)).save(draft, format="PNG")
    return {"pictures": len(images), "sheet": str(settings.sheet)}


def sheet(images: list[Image.Image], prompts: list[str]) -> Image.Image:
    """Return the pictures in rows, each above the first lines of its prompt."""
    width, height = images[0].size
    rows = -(-len(images) // COLUMNS)
    step = height + LINES * LINE_HEIGHT + 4
    canvas = Image.new("RGB", (COLUMNS * width, rows * step), "white")
    writing = ImageDraw.Draw(canvas)
    for at, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        x, y = at % COLUMNS * width, at // COLUMNS * step
        canvas.paste(image, (x, y))
        for line, text in enumerate(textwrap.wrap(prompt, width // LETTER_WIDTH)[:LINES]):
            writing.text((x + 2, y + height + 1 + line * LINE_HEIGHT), text, fill="black")
    return canvas
