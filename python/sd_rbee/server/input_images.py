"""Pictures in requests: measured before they are decoded, and only of formats that are known."""

import base64
import binascii
import re

from sd_rbee.errors import InvalidParamsError
from sd_rbee.input_images import InputImage

_FORMATS = ("PNG", "JPEG", "WEBP")
_DATA_URI = re.compile(r"data:image/(?:png|jpeg|webp);base64,")


def read_image(field: str, text: str, *, max_pixels: int) -> InputImage:
    """The picture in base64: found whole, and kept as the file that it is, transparent or not.

    Args:
        field: The request's field, for the error.
        text: Strict base64, with or without the head of a data URI.
        max_pixels: Height times width that is allowed.

    Raises:
        InvalidParamsError: It is not base64, not one frame of PNG, JPEG or WebP, too large, or broken.
    """
    head = _DATA_URI.match(text)
    try:
        data = base64.b64decode(text[head.end() :] if head else text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParamsError(field, "text that is not base64", "strict base64, or a data URI of it") from None
    return InputImage.of_file(field, data, formats=_FORMATS, max_pixels=max_pixels)
