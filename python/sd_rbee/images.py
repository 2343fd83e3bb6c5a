"""Pixels to PIL, and pictures to files that are whole or not there."""

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from sd_rbee.backend import native
from sd_rbee.checks import shorten
from sd_rbee.errors import InvalidParamsError
from sd_rbee.metadata import to_infotext, to_json
from sd_rbee.pixels import from_native

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
# A JPEG segment holds 65,533 bytes, and the EXIF structure around the text needs some of them.
_JPEG_COMMENT_UNITS = 32_000


def to_pil(image: native.Image, recipe: Mapping[str, Any]) -> Image.Image:
    """The picture as PIL's RGB image, with the recipe in `info` under the names that reading a saved PNG gives."""
    picture = from_native(image)
    picture.info = {"parameters": to_infotext(recipe), "sd-rbee": to_json(recipe)}
    return picture


def encode_preview(image: native.Image) -> bytes:
    """The picture as a PNG file without a recipe, made quickly."""
    buffer = io.BytesIO()
    from_native(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def format_of(path: Path) -> str:
    """PIL's name of the format that the file name asks for.

    Raises:
        InvalidParamsError: A suffix that is none of `FORMATS`.
    """
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise InvalidParamsError("output", shorten(path.name), f"a name ending in {', '.join(FORMATS)}") from None


def encode(picture: Image.Image, format: str) -> bytes:
    """The picture as a file's bytes, with what `to_pil` put into its `info`."""
    options = dict(_SAVE_OPTIONS[format])
    if format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        for key in ("parameters", "sd-rbee"):
            chunks.add_text(key, picture.info[key])
        options["pnginfo"] = chunks
    else:
        options["exif"] = _exif(picture.info["parameters"], format)
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def _exif(text: str, format: str) -> Image.Exif:
    comment = text.encode("utf-16-be")
    if format == "JPEG" and len(comment) > 2 * _JPEG_COMMENT_UNITS:
        prompt, _, settings = text.rpartition("\n")
        room = 2 * (_JPEG_COMMENT_UNITS - 2) - len(settings.encode("utf-16-be"))
        prompt = prompt.encode("utf-16-be")[:room].decode("utf-16-be", "ignore")
        comment = f"{prompt}…\n{settings}".encode("utf-16-be")
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"UNICODE\0" + comment
    return exif


def numbered(path: Path, count: int) -> list[Path]:
    """The path itself for one picture; a-1.png, a-2.png … of a.png for several."""
    return [path] if count == 1 else [path.with_stem(f"{path.stem}-{index}") for index in range(1, count + 1)]


def check_writable(path: Path) -> None:
    """Finds out whether `write` to this path can work, leaving nothing behind.

    Raises:
        OSError: It cannot; the subclass and the message say why.
    """
    check_folder(_target(path).parent)


def check_folder(folder: Path) -> None:
    """Finds out whether files can be made in this folder, leaving nothing behind.

    Raises:
        OSError: They cannot; the subclass and the message say why.
    """
    part = _part(folder / "any")
    os.close(_create(part))
    part.unlink()


def write(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Writes the file as a whole or not at all.

    Raises:
        FileExistsError: The path exists and `replace` is false.
        OSError: It cannot be written.
    """
    target = _target(path)
    part = _part(target)
    try:
        with os.fdopen(_create(part), "wb") as file:
            file.write(data)
        if replace:
            part.replace(target)
        else:
            _move_to_new(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _target(path: Path) -> Path:
    """The file that is to be replaced: behind a symbolic link, and never a folder, a device or a protected file."""
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if not stat.S_ISREG(mode):
        raise FileExistsError(17, "Exists and is not a regular file", str(path))
    if not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    return target


def _part(target: Path) -> Path:
    # Short, so that a file name that is allowed stays so.
    return target.with_name(f".{secrets.token_hex(6)}.part")


def _create(part: Path) -> int:
    try:
        return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        # The folder is what the caller can mend; the temporary name says nothing to them.
        raise type(error)(error.errno, error.strerror, str(part.parent)) from None


def _move_to_new(part: Path, target: Path) -> None:
    try:
        os.link(part, target)
    except FileExistsError:
        raise FileExistsError(17, "File exists", str(target)) from None
    except OSError:
        # A file system without hard links: check, then move.
        if target.exists():
            raise FileExistsError(17, "File exists", str(target)) from None
        part.rename(target)
    else:
        part.unlink()
