"""Images that are given: every kind of file, of PIL image and of array, and what is refused."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from given_images import file_of, noise, values
from sd_rbee import InvalidParamsError
from sd_rbee.input_images import MAX_PIXELS, InputImage


def colours(value: object) -> Image.Image:
    return InputImage.of("image", value).rgb_and_alpha()[0]


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_a_photograph_is_turned_upright(orientation: int, format: str, tmp_path: Path) -> None:
    lying = noise(7, 5)
    options = {"lossless": True} if format == "WEBP" else {}
    path = tmp_path / f"lying.{format.lower()}"
    path.write_bytes(file_of(lying, format, exif=with_orientation(orientation), **options))
    upright = ImageOps.exif_transpose(Image.open(path))
    given = InputImage.of("image", path)
    assert given.size == upright.size == ((7, 5) if orientation < 5 else (5, 7))
    for value in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), Image.open(path)):
        assert np.array_equal(values(colours(value)), values(upright.convert("RGB")))
    kept = InputImage.of_file("image", path.read_bytes(), formats=(format,), max_pixels=35)
    assert kept.size == given.size
    assert np.array_equal(values(kept.rgb_and_alpha()[0]), values(upright.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_formats(format: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(file_of(noise(16, 9), format))
    assert np.array_equal(values(colours(path)), values(Image.open(path).convert("RGB")))


def test_palettes_greys_and_cmyk() -> None:
    palette = noise(9, 6).quantize(7)
    cmyk = noise(9, 6, "CMYK")
    for picture in (palette, noise(9, 6, "L"), cmyk, noise(9, 6).convert("YCbCr"), noise(9, 6, "L").convert("1")):
        expected = picture.convert("RGB")
        assert np.array_equal(values(colours(picture)), values(expected))
    assert np.array_equal(values(colours(file_of(palette))), values(palette.convert("RGB")))
    jpeg = file_of(cmyk, "JPEG")
    assert colours(jpeg).mode == "RGB"


def test_sixteen_bits_are_scaled() -> None:
    deep = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    shallow = [0, 0, 1, 1, 128, 255]
    picture = Image.fromarray(deep)
    assert picture.mode == "I;16"
    for value in (picture, file_of(picture), file_of(picture, "TIFF"), picture.convert("I")):
        assert values(colours(value))[0, :, 0].tolist() == shallow
        assert values(InputImage.of("mask_image", value).as_mask())[0].tolist() == shallow


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_told(mode: str) -> None:
    picture = noise(6, 4, mode)
    given = InputImage.of("image", picture)
    rgb, alpha = given.rgb_and_alpha()
    assert given.is_transparent
    assert alpha is not None
    assert np.array_equal(values(rgb), values(picture.convert("RGBA"))[..., :3])
    assert np.array_equal(values(alpha), values(picture.getchannel("A")))
    picture.putalpha(255)
    assert not InputImage.of("image", picture).is_transparent


def test_a_colour_that_a_file_calls_transparent() -> None:
    for mode, colour in (("RGB", (9, 9, 9)), ("L", 9)):
        picture = Image.new(mode, (4, 2), colour)
        picture.putpixel((1, 1), (1, 2, 3) if mode == "RGB" else 1)
        given = InputImage.of("image", file_of(picture, transparency=colour))
        _, alpha = given.rgb_and_alpha()
        assert given.is_transparent
        assert alpha is not None
        assert values(alpha).tolist() == [[0, 0, 0, 0], [0, 255, 0, 0]]
    deep = Image.fromarray(np.array([[9, 65535]], np.uint16))
    rgb, alpha = InputImage.of("image", file_of(deep, transparency=9)).rgb_and_alpha()
    assert values(rgb)[0, :, 0].tolist() == [0, 255]
    assert alpha is not None
    assert values(alpha).tolist() == [[0, 255]]


def test_what_the_caller_does_later_changes_nothing() -> None:
    picture = noise(4, 4)
    array = values(picture).copy()
    given, of_array = InputImage.of("image", picture), InputImage.of("image", array)
    picture.paste(0, (0, 0, 4, 4))
    before = array.copy()
    array[:] = 0
    assert np.array_equal(values(given.rgb_and_alpha()[0]), before)
    assert np.array_equal(values(of_array.rgb_and_alpha()[0]), before)


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(), (1,), (3,), (4,)])).map(
    lambda shape: (*shape[:2], *shape[2])
)


@settings(deadline=None, derandomize=True)
@given(st.data(), shapes)
def test_arrays(data: st.DataObject, shape: tuple[int, ...]) -> None:
    array: NDArray[np.uint8] = data.draw(arrays.arrays(np.uint8, shape))
    expected = np.repeat(array.reshape(*shape[:2], -1)[..., :3], 3 if len(shape) < 3 or shape[2] == 1 else 1, axis=-1)
    backwards = array[::-1, ::-1]
    assert np.array_equal(values(colours(array)), expected)
    assert np.array_equal(values(colours(backwards)), expected[::-1, ::-1])
    assert np.array_equal(values(colours(array.data)), expected)
    for dtype in (np.float32, np.float64):
        assert np.array_equal(values(colours((array / 255).astype(dtype))), expected)


@settings(deadline=None, derandomize=True)
@given(arrays.arrays(np.float64, (3, 4), elements=st.floats(0, 1)))
def test_floats_are_rounded_as_diffusers_does(array: NDArray[np.float64]) -> None:
    assert np.array_equal(values(colours(array))[..., 0], (array * 255).round().astype(np.uint8))


def test_a_bool_array_is_a_mask() -> None:
    array = np.array([[True, False], [False, True]])
    assert values(InputImage.of("mask_image", array).as_mask()).tolist() == [[255, 0], [0, 255]]


def a_bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def an_animation(format: str) -> bytes:
    return file_of(noise(8, 8), format, save_all=True, append_images=[noise(8, 8, seed=6)])


WRONG: dict[str, tuple[object, str]] = {
    "a number": (5, "int 5, allowed is a PIL image"),
    "a list": ([[1]], "list"),
    "no such file": ("no/such/file.png", "No such file or directory"),
    "no name": ("", "directory"),
    "not a name": ("\0", "not a name that a file can have"),
    "a folder": (os.curdir, "directory"),
    "a path of bytes": (type("P", (), {"__fspath__": lambda self: b"x"})(), "a path of str"),
    "other data": (b"hello world", "data of another kind, allowed is PNG"),
    "no data": (b"", "data of another kind"),
    "half a file": (file_of(noise(64, 64))[:4000], "a broken image"),
    "a bomb": (a_bomb(), "at most 67108864 pixels"),
    "apng": (an_animation("PNG"), "an animation, allowed is one frame"),
    "animated webp": (an_animation("WEBP"), "an animation"),
    "gif": (an_animation("GIF"), "an animation"),
    "pages": (an_animation("TIFF"), "an animation"),
    "mode F": (Image.new("F", (4, 4)), "an image of mode F"),
    "32 bits": (Image.new("I", (4, 4), 70_000), "an image of 32 bits"),
    "no pixels": (Image.new("RGB", (0, 4)), "0 x 4, allowed is at least one pixel"),
    "a batch": (np.zeros((1, 8, 8, 3), np.uint8), "an array of shape (1, 8, 8, 3)"),
    "channels first": (np.zeros((3, 8, 8), np.uint8), "an array of shape (3, 8, 8)"),
    "an empty array": (np.zeros((0, 8, 3), np.uint8), "an array of shape (0, 8, 3)"),
    "a wide array": (np.broadcast_to(np.uint8(0), (MAX_PIXELS + 1, 1)), "at most 67108864 pixels"),
    "int64": (np.zeros((8, 8), np.int64), "an array of type l"),
    "float16": (np.zeros((8, 8), np.float16), "an array of type e"),
    "swapped": (np.zeros((8, 8), ">f4"), "an array of type >f"),
    "above 1": (np.full((8, 8), 1.1), "an array of other floats, allowed is floats in 0 to 1"),
    "below 0": (np.full((8, 8), -0.1), "an array of other floats"),
    "nan": (np.full((8, 8), np.nan), "an array of other floats"),
    "inf": (np.full((8, 8), np.inf, np.float32), "an array of other floats"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("field", ["image", "mask_image"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_image_is_refused(case: str, field: str) -> None:
    value, says = WRONG[case]
    with pytest.raises(InvalidParamsError) as caught:
        InputImage.of(field, value)
    assert caught.value.field == field
    assert says in str(caught.value)
    assert len(str(caught.value)) < 400


def test_of_a_phones_several_pictures_the_first_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    noise(16, 8).save(path, "MPO", save_all=True, append_images=[noise(16, 8, seed=6)])
    with Image.open(path) as first:
        assert first.format == "MPO"
        assert np.array_equal(values(colours(path)), values(first))


def test_a_kept_file_is_told_from_others_without_its_pixels() -> None:
    files = [file_of(noise(8, 8, seed=seed)) for seed in (1, 1, 2)]
    given = [InputImage.of_file("image", data, formats=("PNG",), max_pixels=64) for data in files]
    assert given[0] == given[1] != given[2]
    assert given[0] == given[0].without_pixels() != given[2]
    assert "_file" not in repr(given[0])
    with pytest.raises(InvalidParamsError, match="8 x 8, allowed is at most 63 pixels"):
        InputImage.of_file("image", files[0], formats=("PNG",), max_pixels=63)
    with pytest.raises(InvalidParamsError, match="data of another kind, allowed is WEBP"):
        InputImage.of_file("image", files[0], formats=("WEBP",), max_pixels=64)
