"""Masks, crops and overlays, after diffusers' `VaeImageProcessor`; in a mask white is what is drawn anew."""

from PIL import Image, ImageChops, ImageFilter, ImageOps

from sd_rbee.resizing import cover

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, the last two not included."""

# From here up a pixel is rather opaque than transparent.
OPAQUE = 128


def blur(mask: Image.Image, radius: float) -> Image.Image:
    """The mask with soft edges, by a Gaussian of this standard deviation in pixels: `blur`."""
    if radius <= 0:
        return mask
    return (mask.convert("L") if mask.mode == "1" else mask).filter(ImageFilter.GaussianBlur(radius))


def crop_region(mask: Image.Image, size: tuple[int, int], padding: int) -> Box | None:
    """The box around all that is not black, with padding, widened to the proportions of `size`: `get_crop_region`.

    None where all is black.
    """
    found = mask.convert("L").getbbox()
    if found is None:
        return None
    left, top = max(found[0] - padding, 0), max(found[1] - padding, 0)
    right, bottom = min(found[2] + padding, mask.width), min(found[3] + padding, mask.height)
    proportions = size[0] / size[1]
    if (right - left) / (bottom - top) > proportions:
        missing = int((right - left) / proportions - (bottom - top))
        top, bottom = _widen(top, bottom, missing, mask.height)
    else:
        missing = int((bottom - top) * proportions - (right - left))
        left, right = _widen(left, right, missing, mask.width)
    return left, top, right, bottom


def _widen(start: int, end: int, missing: int, most: int) -> tuple[int, int]:
    """The span made longer on both sides, moved and then cut to lie in 0 to `most`."""
    start -= missing // 2
    end += missing - missing // 2
    beyond = max(0, end - most)
    start, end = start - beyond, end - beyond
    short = max(0, -start)
    return start + short, min(end + short, most)


def overlay(mask: Image.Image, original: Image.Image, drawn: Image.Image, region: Box | None = None) -> Image.Image:
    """What was drawn under the original, which the mask has holes in: `apply_overlay`.

    Where the mask is 0 the original's bits stay; where it is grey, both are mixed.

    Args:
        mask: Of the original's size.
        original: Mode RGB.
        drawn: Of the original's size; of any where there is a region.
        region: Where in the original `drawn` belongs.
    """
    kept = Image.new("RGBa", original.size)
    kept.paste(original.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    if region is not None:
        left, top, right, bottom = region
        placed = Image.new("RGBA", original.size)
        placed.paste(cover(drawn, (right - left, bottom - top)), (left, top))
        drawn = placed.convert("RGB")
    whole = drawn.convert("RGBA")
    whole.alpha_composite(kept.convert("RGBA"))
    return whole.convert("RGB")


def rectangle(size: tuple[int, int], box: Box) -> Image.Image:
    """A mask that is white in the box alone."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def add_border(picture: Image.Image, border: Box, colour: int | tuple[int, ...]) -> Image.Image:
    """The picture with so many pixels of a colour added to the left, the top, the right and the bottom."""
    left, top, right, bottom = border
    widened = Image.new(picture.mode, (picture.width + left + right, picture.height + top + bottom), colour)
    widened.paste(picture, (left, top))
    return widened


def on_white(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    """What shows of the picture on white paper."""
    return Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)


def extend_edges(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    """The picture with what is rather transparent than opaque filled from the nearest pixels that are not.

    A straight edge goes on as it is. Distances double from pass to pass, so that a fill of n pixels takes log2(n).
    Nothing is filled where nothing is opaque.
    """
    known = alpha.point(lambda value: 255 if value >= OPAQUE else 0)
    filled, reach = picture.copy(), 1
    while known.getextrema() == (0, 255):
        for move in ((reach, 0), (-reach, 0), (0, reach), (0, -reach)):
            moved, there = Image.new("RGB", filled.size), Image.new("L", filled.size)
            moved.paste(filled, move)
            there.paste(known, move)
            filled.paste(moved, mask=ImageChops.darker(there, ImageChops.invert(known)))
            known = ImageChops.lighter(known, there)
        reach *= 2
    return filled
