"""Images that are given: PIL's, arrays, files; measured before they are decoded, and upright."""

import dataclasses
import hashlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from PIL import Image, ImageOps, UnidentifiedImageError

from sd_rbee.checks import shorten
from sd_rbee.errors import InvalidParamsError
from sd_rbee.inpaint import OPAQUE
from sd_rbee.pixels import from_array

if TYPE_CHECKING:
    from typing_extensions import Buffer
elif sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    Buffer = bytes | bytearray | memoryview

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# A photograph of 64 megapixels.
MAX_PIXELS = 1 << 26
_ALLOWED = (
    "a PIL image, an array (height, width[, 1, 3 or 4]) of uint8, bool or floats in 0 to 1, a path, or a file's bytes"
)
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_UNUSABLE_MODES = ("F", "LAB")
_ALLOWED_MODES = "grey, RGB, CMYK or a palette, with or without alpha, in 8 or 16 bits"


@dataclasses.dataclass(frozen=True, slots=True)
class InputImage:
    """An image that was measured and found whole.

    One that came as a file may be kept as one, in few bytes, and is decoded anew where it is used.

    Attributes:
        field: What errors call it.
        width: In pixels, upright.
        height: In pixels, upright.
        is_transparent: Whether any pixel is rather transparent than opaque.
        digest: SHA-256 of the file that is kept; empty where none is.
    """

    field: str
    width: int
    height: int
    is_transparent: bool
    digest: bytes = b""
    _picture: Image.Image | None = dataclasses.field(default=None, repr=False)
    _file: bytes | None = dataclasses.field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, field: str, value: object) -> "InputImage":
        """Takes whatever `generate` takes as an image.

        Args:
            field: Name of the parameter, for errors.
            value: An `InputImage`, which is kept; a PIL image; an array by the buffer protocol, (height, width) or
                (height, width, 1, 3 or 4) of uint8, of bool, or of floats in 0 to 1, which are rounded to 8 bits; a
                path; or a file's bytes. Files are of `FORMATS`. Of what EXIF says only the orientation counts, of a
                phone's several pictures the first.

        Raises:
            InvalidParamsError: Nothing of that kind, an animation, more than `MAX_PIXELS`, or broken.
        """
        if isinstance(value, InputImage):
            return value
        if isinstance(value, str | os.PathLike):
            return cls._of_picture(field, _read_file(field, value))
        if isinstance(value, Image.Image):
            return cls._of_picture(field, _whole(field, value, MAX_PIXELS))
        try:
            view = memoryview(value)  # type: ignore[arg-type]
        except TypeError:
            raise InvalidParamsError(field, f"{type(value).__name__} {shorten(value)}", _ALLOWED) from None
        if view.ndim == 1 and view.format in ("B", "b", "c"):
            return cls._of_picture(field, _open(field, view.tobytes(), FORMATS, MAX_PIXELS))
        picture = from_array(field, view, MAX_PIXELS)
        return cls._of_picture(field, picture)

    @classmethod
    def of_file(cls, field: str, data: bytes, *, formats: tuple[str, ...], max_pixels: int) -> "InputImage":
        """Takes a file's bytes, finds out whether they can be decoded, and keeps them alone.

        Args:
            field: Name of the parameter, for errors.
            data: The file.
            formats: Those that may be, as PIL calls them.
            max_pixels: Width times height that is allowed.

        Raises:
            InvalidParamsError: Not one whole image of such a format and size.
        """
        measured = cls._of_picture(field, _open(field, data, formats, max_pixels))
        return dataclasses.replace(measured, digest=hashlib.sha256(data).digest(), _picture=None, _file=data)

    @classmethod
    def _of_picture(cls, field: str, picture: Image.Image) -> "InputImage":
        transparent = picture.has_transparency_data and _darkest(_alpha(picture)) < OPAQUE
        return cls(field, *picture.size, transparent, _picture=picture)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        return self.width, self.height

    def without_pixels(self) -> "InputImage":
        """What tells it from others and takes no memory; it cannot be decoded any more."""
        return dataclasses.replace(self, _picture=None, _file=None)

    def opaque(self) -> "InputImage":
        """The same with nothing said of its transparency, which whoever decodes it lays on white then."""
        return dataclasses.replace(self, is_transparent=False)

    def rgb_and_alpha(self) -> tuple[Image.Image, Image.Image | None]:
        """The colours, and in mode L how opaque they are; None where all are."""
        picture = self._decoded()
        if not picture.has_transparency_data:
            return _eight_bits(picture).convert("RGB"), None
        colours = _eight_bits(picture) if _is_deep(picture) else picture.convert("RGBA")
        return colours.convert("RGB"), _alpha(picture)

    def as_mask(self) -> Image.Image:
        """The image in one of the modes that diffusers resizes and makes grey itself: 1, L, LA, RGB or RGBA."""
        picture = _eight_bits(self._decoded())
        return picture if picture.mode in ("1", "L", "LA", "RGB", "RGBA") else picture.convert("L")

    def _decoded(self) -> Image.Image:
        if self._picture is not None:
            return self._picture
        assert self._file is not None, "asked for pixels that were let go"
        return _open(self.field, self._file, None, self.width * self.height)


def _read_file(field: str, path: str | os.PathLike[str]) -> Image.Image:
    try:
        name = os.fspath(path)
        if not isinstance(name, str):
            raise InvalidParamsError(field, shorten(name), "a path of str")
        file = Path(name).expanduser().open("rb")
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InvalidParamsError):
            raise
        reason = getattr(error, "strerror", None) or "not a name that a file can have"
        raise InvalidParamsError(
            field, f"{shorten(str(path))}: {reason}", "the path of an image that can be read"
        ) from None
    with file:
        return _open(field, file, FORMATS, MAX_PIXELS)


def _open(
    field: str, source: "bytes | io.BufferedReader", formats: tuple[str, ...] | None, max_pixels: int
) -> Image.Image:
    allowed = ", ".join(formats or FORMATS)
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=formats or FORMATS) as picture:
            return _whole(field, picture, max_pixels)
    except InvalidParamsError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidParamsError(field, "an image that is too large", f"at most {max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise InvalidParamsError(field, "data of another kind", allowed) from None
    except MemoryError:
        raise
    except Exception:
        # Decoders of hostile files raise whatever they stumble over.
        raise InvalidParamsError(field, "a broken image", allowed) from None


def _whole(field: str, picture: Image.Image, max_pixels: int) -> Image.Image:
    """The picture decoded and upright, apart from the one that was given."""
    if picture.width * picture.height > max_pixels:
        raise InvalidParamsError(field, f"{picture.width} x {picture.height}", f"at most {max_pixels} pixels")
    if not picture.width * picture.height:
        raise InvalidParamsError(field, f"{picture.width} x {picture.height}", "at least one pixel")
    # Phones put several pictures into one JPEG, the first of which is the photograph.
    if picture.format != "MPO" and getattr(picture, "n_frames", 1) != 1:
        raise InvalidParamsError(field, "an animation", "one frame")
    if picture.mode in _UNUSABLE_MODES:
        raise InvalidParamsError(field, f"an image of mode {picture.mode}", _ALLOWED_MODES)
    try:
        upright = ImageOps.exif_transpose(picture)
    except (OSError, SyntaxError, ValueError):
        raise InvalidParamsError(field, "a broken image", "one that can be decoded") from None
    if upright.mode == "I":
        darkest, lightest = cast("tuple[int, int]", upright.getextrema())
        if darkest < 0 or lightest >= 2**16:
            raise InvalidParamsError(field, "an image of 32 bits", _ALLOWED_MODES)
    return upright


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode == "I" or picture.mode in _SIXTEEN_BITS


def _eight_bits(picture: Image.Image) -> Image.Image:
    if _is_deep(picture):
        return picture.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    return picture


def _alpha(picture: Image.Image) -> Image.Image:
    return picture.convert("RGBA").getchannel("A")


def _darkest(picture: Image.Image) -> int:
    return cast("tuple[int, int]", picture.getextrema())[0]


class Array(Protocol):
    """numpy's, which type checkers do not see as a `Buffer` before Python 3.12."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What it holds."""


ImageInput: TypeAlias = InputImage | Image.Image | Array | Buffer | str | os.PathLike[str]
"""What `InputImage.of` takes."""
