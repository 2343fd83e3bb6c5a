"""The ways in which diffusers' `VaeImageProcessor` brings a PIL image to a size; all sizes are (width, height)."""

from PIL import Image

_LANCZOS = Image.Resampling.LANCZOS


def stretch(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture, whatever that does to its proportions: `resize_mode` default."""
    return picture.resize(size, _LANCZOS)


def fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture in its proportions, its outermost rows or columns drawn out to fill the rest: `fill`."""
    width, height = size
    wide = width / height < picture.width / picture.height
    # At least a pixel, where diffusers fails.
    inner_width = width if wide else max(1, picture.width * height // picture.height)
    inner_height = max(1, picture.height * width // picture.width) if wide else height
    inner = picture.resize((inner_width, inner_height), _LANCZOS)
    left, top = width // 2 - inner_width // 2, height // 2 - inner_height // 2
    filled = Image.new("RGB", size)
    filled.paste(inner, (left, top))
    if wide and top > 0:
        filled.paste(inner.resize((width, top), box=(0, 0, width, 0)), (0, 0))
        filled.paste(inner.resize((width, top), box=(0, inner_height, width, inner_height)), (0, top + inner_height))
    elif left > 0:
        filled.paste(inner.resize((left, height), box=(0, 0, 0, height)), (0, 0))
        filled.paste(inner.resize((left, height), box=(inner_width, 0, inner_width, height)), (left + inner_width, 0))
    return filled


def cover(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in its proportions, what reaches beyond the size cut off: `crop`."""
    width, height = size
    wide = width / height > picture.width / picture.height
    inner_width = width if wide else picture.width * height // picture.height
    inner_height = picture.height * width // picture.width if wide else height
    inner = picture.resize((inner_width, inner_height), _LANCZOS)
    covered = Image.new("RGB", size)
    covered.paste(inner, (width // 2 - inner_width // 2, height // 2 - inner_height // 2))
    return covered
