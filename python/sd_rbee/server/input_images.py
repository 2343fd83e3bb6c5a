"""Pictures in requests: measured before they are decoded, and only of formats that are known."""

import base64
import binascii
import io
import re
import warnings

from PIL import Image, UnidentifiedImageError

from sd_rbee.errors import InvalidParamsError

_FORMATS = ("PNG", "JPEG", "WEBP")
_DATA_URI = re.compile(r"data:image/(?:png|jpeg|webp);base64,")


def decode_image(field: str, text: str, *, max_pixels: int) -> Image.Image:
    """The picture in base64, as RGB.

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
            if picture.width * picture.height > max_pixels:
                raise InvalidParamsError(field, f"{picture.width} x {picture.height}", f"at most {max_pixels} pixels")
            if getattr(picture, "n_frames", 1) != 1:
                raise InvalidParamsError(field, "an animation", "one frame")
            return picture.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidParamsError(field, "a picture that is too large", f"at most {max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise InvalidParamsError(field, "data of another kind", ", ".join(_FORMATS)) from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InvalidParamsError):
            raise
        raise InvalidParamsError(field, "a broken picture", ", ".join(_FORMATS)) from None
