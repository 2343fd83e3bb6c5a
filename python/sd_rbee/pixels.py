"""Pixels between PIL and buffers: uint8 (height, width, 3), (height, width)."""

from array import array as array_of
from typing import TYPE_CHECKING

from PIL import Image

from sd_rbee.errors import InvalidParamsError

if TYPE_CHECKING:
    from sd_rbee.backend import native

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def to_buffer(picture: Image.Image) -> memoryview:
    """The picture's values: (height, width) of mode L, (height, width, 3) of mode RGB."""
    shape = (picture.height, picture.width, *((3,) if picture.mode == "RGB" else ()))
    return memoryview(picture.tobytes()).cast("B", shape)


def from_native(image: "native.Image") -> Image.Image:
    """The engine's picture as PIL's, mode RGB."""
    return Image.frombytes("RGB", (image.width, image.height), memoryview(image))


def from_array(field: str, array: memoryview, max_pixels: int) -> Image.Image:
    """The picture of an array, mode L, RGB or RGBA.

    Args:
        field: Name of the parameter, for the error.
        array: (height, width) or (height, width, 1, 3 or 4) of uint8, of bool, or of floats in 0 to 1, which are
            rounded to 8 bits as diffusers' `VaeImageProcessor.numpy_to_pil` does.
        max_pixels: Height times width that is allowed.

    Raises:
        InvalidParamsError: Another shape, type or value.
    """
    shape = tuple(array.shape or ())
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or channels not in _MODES or 0 in shape:
        raise InvalidParamsError(field, f"an array of shape {shape}", "(height, width) or (height, width, 1, 3 or 4)")
    height, width = shape[:2]
    if height * width > max_pixels:
        raise InvalidParamsError(field, f"{width} x {height}", f"at most {max_pixels} pixels")
    data, kind = array.tobytes(), array.format
    if kind == "?":
        data = data.translate(bytes([0]) + bytes([255]) * 255)
    elif kind in ("f", "d"):
        values = array_of("f" if kind == "f" else "d", data)
        try:
            data = bytes([round(255 * value) for value in values])
        except (ValueError, OverflowError):
            raise InvalidParamsError(field, "an array of other floats", "floats in 0 to 1") from None
    elif kind != "B":
        allowed = "uint8, bool, or floats in 0 to 1 of 32 or 64 bits"
        raise InvalidParamsError(field, f"an array of type {kind}", allowed)
    return Image.frombytes(_MODES[channels], (width, height), data)
