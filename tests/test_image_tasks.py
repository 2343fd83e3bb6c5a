"""Pictures drawn over pictures: sizes, masks, crops, borders, and what keeps its bits."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import sd_rbee
from given_images import blob, file_of, noise, values
from sd_rbee import ChangedImageWarning, InvalidParamsError, Pipeline, inpaint
from sd_rbee.errors import IneffectiveParameterWarning
from sd_rbee.input_images import InputImage
from sd_rbee.spec import GenerationParameters, GenerationSpec
from support import pixels, pollen

QUICK: dict[str, Any] = {"num_inference_steps": 2, "seed": 7}
quietly = pytest.mark.filterwarnings("ignore::UserWarning")


def resized(result: sd_rbee.GenerationResult) -> list[str]:
    return [text for text in result.warnings if "was resized" in text]


def test_an_image_is_drawn_over_at_its_own_size() -> None:
    image = noise(40, 24)
    drawn = [pollen().generate("a robot", image=image, strength=strength, **QUICK) for strength in (0.5, 1.0)]
    for result in drawn:
        assert (result.images[0].size, result.warnings, result.image_changes) == ((40, 24), [], [])
        assert (result.parameters["image_width"], result.parameters["image_height"]) == (40, 24)
        assert result.parameters["task"] == "image-to-image"
    assert not np.array_equal(pixels(drawn[0]), pixels(drawn[1]))
    assert [result.parameters["strength"] for result in drawn] == [0.5, 1.0]
    assert "Denoising strength: 0.5," in drawn[0].images[0].info["parameters"]


def test_one_image_by_any_way_is_one_picture(tmp_path: Path) -> None:
    image = noise(24, 16)
    path = tmp_path / "image.png"
    image.save(path)
    array = values(image)
    given = (image, path, str(path), path.read_bytes(), array, (array / 255).astype(np.float32))
    drawn = [pixels(pollen().generate("a robot", image=value, **QUICK)) for value in given]
    for picture in drawn[1:]:
        assert np.array_equal(picture, drawn[0])
    streamed = list(pollen().stream("a robot", image=image, **QUICK))[-1]
    assert isinstance(streamed, sd_rbee.Complete)
    assert np.array_equal(pixels(streamed.result), drawn[0])
    assert np.array_equal(pixels(sd_rbee.generate("a robot", image=image, **QUICK)), drawn[0])


@pytest.mark.parametrize(
    ("image_size", "asked", "drawn"),
    [
        ((43, 30), {}, (40, 24)),
        ((43, 30), {"width": 64, "height": 48}, (64, 48)),
        ((43, 30), {"width": 64}, (64, 24)),
        ((8, 9), {}, (8, 8)),
        ((4, 5), {"width": 16, "height": 16}, (16, 16)),
    ],
)
def test_a_size_that_cannot_be_drawn_is_fitted_and_told(
    image_size: tuple[int, int], asked: dict[str, Any], drawn: tuple[int, int]
) -> None:
    with pytest.warns(ChangedImageWarning) as caught:
        result = pollen().generate("a robot", image=noise(*image_size), strength=1.0, **asked, **QUICK)
    assert caught[0].filename == __file__
    assert (result.images[0].size, result.pixels[0].width) == (drawn, drawn[0])
    said = f"the image, {image_size[0]} x {image_size[1]}, was resized to {drawn[0]} x {drawn[1]} to be drawn over"
    assert result.warnings == result.image_changes == [said]
    assert [str(warning.message) for warning in caught] == [said]


@quietly
@settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.tuples(st.integers(8, 60), st.integers(8, 60)),
    st.integers(0, 2**32 - 1),
    st.floats(0.5, 1),
    st.sampled_from([0.0, 0.4, 3.0, 50.0]),
    st.sampled_from([None, 0, 7, 200]),
    st.sampled_from([{}, {"width": 32}, {"width": 24, "height": 40}]),
    st.booleans(),
)
def test_what_is_not_masked_keeps_its_bits(
    size: tuple[int, int],
    seed: int,
    strength: float,
    blur: float,
    crop: int | None,
    asked: dict[str, Any],
    soft: bool,
) -> None:
    image = noise(*size, seed=seed)
    random = np.random.default_rng(seed)
    mask = np.zeros(size[::-1], np.uint8)
    top, left = random.integers(0, size[1]), random.integers(0, size[0])
    box = mask[top : top + random.integers(1, 30), left : left + random.integers(1, 30)]
    box[:] = random.integers(1, 256, box.shape) if soft else 255
    parameters: dict[str, Any] = {"mask_image": mask, "mask_blur": blur, "padding_mask_crop": crop, **asked, **QUICK}
    result = pollen().generate("a robot", image=image, strength=strength, **parameters)
    softened = GenerationSpec.of("", mask_image=mask).mask_image
    assert softened is not None
    kept = values(inpaint.blur(softened.as_mask(), blur)) == 0
    drawn = pixels(result)
    assert drawn.shape == values(image).shape
    assert np.array_equal(drawn[kept], values(image)[kept])
    assert np.array_equal(drawn, values(result.images[0]))


@quietly
def test_what_is_masked_is_drawn() -> None:
    image, mask = noise(64, 48), blob(64, 48)
    plain = pixels(pollen().generate("a robot", image=image, mask_image=mask, **QUICK))
    white = values(mask) == 255
    assert np.mean(np.any(plain != values(image), axis=-1)[white]) > 0.95
    for change in (
        {"mask_blur": 4},
        {"padding_mask_crop": 4},
        {"keep_unmasked": False},
        {"strength": 0.5},
        {"outpaint": (8, 0, 0, 0)},
    ):
        parameters: dict[str, Any] = {"image": image, "mask_image": mask, **change, **QUICK}
        assert not np.array_equal(plain, pixels(pollen().generate("a robot", **parameters))), change


@quietly
def test_nothing_is_pasted_back_where_that_is_not_wanted() -> None:
    image, mask = noise(43, 30), blob(43, 30)
    result = pollen().generate("a robot", image=image, mask_image=mask, keep_unmasked=False, **QUICK)
    assert result.images[0].size == (40, 24)
    cropped = pollen().generate(
        "a robot", image=image, mask_image=mask, keep_unmasked=False, padding_mask_crop=2, **QUICK
    )
    left, top, right, bottom = cropped.parameters["crop_region"]
    assert cropped.images[0].size == (43, 30)
    changed = np.any(pixels(cropped) != values(image), axis=-1)
    assert np.mean(changed[top:bottom, left:right]) > 0.95
    changed[top:bottom, left:right] = False
    assert not changed.any()


@quietly
def test_a_crop_is_drawn_at_the_models_size_and_told() -> None:
    image, mask = noise(300, 200), Image.new("L", (300, 200))
    mask.paste(255, (100, 50, 120, 80))
    result = pollen().generate("a robot", image=image, mask_image=mask, padding_mask_crop=8, mask_blur=2, **QUICK)
    left, top, right, bottom = result.parameters["crop_region"]
    assert left <= 92
    assert right >= 128
    assert right - left == bottom - top
    assert (result.parameters["width"], result.parameters["height"]) == (128, 128)
    assert result.images[0].size == (300, 200)
    (said,) = resized(result)
    assert said.startswith(f"the part of the image from {left}, {top} to {right}, {bottom}, ")
    told = {name: result.parameters[name] for name in ("padding_mask_crop", "mask_blur", "keep_unmasked", "outpaint")}
    assert told == {"padding_mask_crop": 8, "mask_blur": 2, "keep_unmasked": True, "outpaint": None}
    text = result.images[0].info["parameters"]
    assert "Mask blur: 2, Inpaint area: Only masked, Masked area padding: 8," in text


@quietly
@pytest.mark.parametrize("border", [(8, 0, 0, 0), (0, 16, 8, 0), (3, 5, 2, 1)])
def test_outpainting_keeps_the_image_in_the_middle(border: tuple[int, int, int, int]) -> None:
    image = noise(40, 32)
    result = pollen().generate("a robot", image=image, outpaint=border, **QUICK)
    left, top, right, bottom = border
    drawn = pixels(result)
    assert drawn.shape == (32 + top + bottom, 40 + left + right, 3)
    assert np.array_equal(drawn[top : top + 32, left : left + 40], values(image))
    assert result.parameters["task"] == "inpaint"
    bare = Image.new("RGBA", (40 + left + right, 32 + top + bottom))
    bare.paste(image, (left, top))
    assert np.array_equal(pixels(pollen().generate("a robot", image=bare, **QUICK)), drawn)


def test_what_is_transparent_is_drawn_anew_or_laid_on_white() -> None:
    image = noise(32, 24, "RGBA")
    image.putalpha(blob(32, 24))
    with pytest.warns(ChangedImageWarning, match="what is transparent is drawn anew"):
        result = pollen().generate("a robot", image=image, **QUICK)
    opaque = values(blob(32, 24)) == 255
    assert np.array_equal(pixels(result)[opaque], values(image.convert("RGB"))[opaque])
    mask = np.zeros((24, 32), np.uint8)
    mask[:, 16:] = 255
    with pytest.warns(ChangedImageWarning, match="what is transparent was laid on white"):
        result = pollen().generate("a robot", image=image, mask_image=mask, **QUICK)
    left = pixels(result)[:, :16]
    assert (left[~opaque[:, :16]] == 255).all()
    assert np.array_equal(left[opaque[:, :16]], values(image.convert("RGB"))[:, :16][opaque[:, :16]])


def test_what_is_hardly_transparent_is_no_mask() -> None:
    image = noise(32, 24, "RGBA")
    image.putalpha(200)
    with pytest.warns(ChangedImageWarning, match="what is transparent was laid on white"):
        result = pollen().generate("a robot", image=image, **QUICK)
    assert result.parameters["task"] == "image-to-image"


@quietly
def test_several_pictures_are_each_laid_over() -> None:
    image, mask = noise(30, 22), blob(30, 22)
    parameters: dict[str, Any] = {"image": image, "mask_image": mask, **QUICK}
    both = pollen().generate("a robot", num_images_per_prompt=2, **parameters)
    second = pollen().generate("a robot", **{**parameters, "seed": 8})
    assert np.array_equal(pixels(both, 1), pixels(second))
    assert not np.array_equal(pixels(both, 0), pixels(second))


IMAGE = noise(16, 16)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "mask alone": ({"mask_image": blob(16, 16)}, "mask_image: got a mask of 16 x 16, allowed is none without an image"),
    "strength alone": ({"strength": 0.5}, "strength: got 0.5, allowed is none without an image"),
    "blur alone": ({"mask_blur": 2}, "mask_blur: got 2.0, allowed is nothing without an image"),
    "crop alone": ({"padding_mask_crop": 2}, "padding_mask_crop: got 2, allowed is nothing without an image"),
    "border alone": ({"outpaint": (0, 0, 0, 8)}, r"outpaint: got \(0, 0, 0, 8\), allowed is nothing without an image"),
    "crop without mask": (
        {"image": IMAGE, "padding_mask_crop": 2},
        "padding_mask_crop: got 2, .* without a mask_image",
    ),
    "crop of 0 without mask": ({"image": IMAGE, "padding_mask_crop": 0}, "padding_mask_crop: got 0, .* without a mask"),
    "blur without mask": ({"image": IMAGE, "mask_blur": 2}, "mask_blur: got 2.0, .* without a mask_image"),
    "no border": ({"image": IMAGE, "outpaint": (0, 0, 0, 0)}, "outpaint: got .* more than 0 pixels"),
    "half a border": (
        {"image": IMAGE, "outpaint": (0, 8)},
        r"outpaint: got tuple \(0, 8\), allowed is 4 ints, \(left,",
    ),
    "negative border": ({"image": IMAGE, "outpaint": (0, 0, 0, -1)}, "outpaint: got -1, allowed is an int from 0"),
    "wide border": (
        {"image": IMAGE, "outpaint": (5000, 0, 0, 0)},
        "image: got 5016 x 16 with what is beyond it, allowed is sides of 8 to 4096",
    ),
    "huge border": ({"image": IMAGE, "outpaint": (2**31, 2**31, 0, 0)}, "outpaint: got a picture of 2147483664 x"),
    "small image": (
        {"image": noise(16, 7)},
        "image: got 16 x 7, allowed is sides of 8 to 4096, unless height and width",
    ),
    "large image": ({"image": Image.new("L", (4104, 8))}, "image: got 4104 x 8, allowed is sides of 8 to 4096"),
    "width": (
        {"image": IMAGE, "width": 20},
        "width: got 20, allowed is a multiple of 8 in 8 to 4096; the nearest is 24",
    ),
    "height": ({"image": IMAGE, "height": 10**6}, "height: got 1000000, .* the nearest is 4096"),
    "other mask": ({"image": IMAGE, "mask_image": blob(16, 24)}, "mask_image: got a mask of 16 x 24, .* size, 16 x 16"),
    "blur": (
        {"image": IMAGE, "mask_image": blob(16, 16), "mask_blur": -1},
        "mask_blur: got -1.0, allowed is 0 to 1024",
    ),
    "strength": ({"image": IMAGE, "strength": 1.5}, "strength: got 1.5, allowed is a number above 0, at most 1"),
    "strength of no step": ({"image": IMAGE, "strength": 0.1}, "strength: got 0.1, allowed is at least 1/2"),
    "black mask": (
        {"image": IMAGE, "mask_image": Image.new("L", (16, 16)), "padding_mask_crop": 2},
        "mask_image: got a mask that is black all over, allowed is some white to crop to",
    ),
    "nothing": ({"image": Image.new("RGBA", (16, 16))}, "image: got an image that is transparent all over"),
    "keep": ({"image": IMAGE, "keep_unmasked": 1}, "keep_unmasked: got int 1, allowed is True, False"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_refused(case: str) -> None:
    parameters, says = WRONG[case]
    with pytest.raises(InvalidParamsError, match=f"^{says}"):
        pollen().generate("a robot", **parameters, **QUICK)
    with pytest.raises(InvalidParamsError, match=f"^{says}"):
        list(pollen().stream("a robot", **parameters, **QUICK))


@pytest.mark.parametrize("case", [case for case in WRONG if case not in ("black mask", "nothing")])
def test_what_makes_no_sense_is_known_before_it_is_decoded(case: str) -> None:
    with pytest.raises(InvalidParamsError, match=f"^{WRONG[case][1]}"):
        pollen().check(GenerationSpec.of("a robot", **WRONG[case][0], **QUICK))


def test_a_file_that_is_kept_is_drawn_over_as_any_other() -> None:
    data = file_of(noise(24, 16))
    kept = InputImage.of_file("picture", data, formats=("PNG",), max_pixels=24 * 16)
    pollen().check(GenerationSpec.of("a robot", image=kept, **QUICK))
    drawn = pixels(pollen().generate("a robot", image=kept, **QUICK))
    assert np.array_equal(drawn, pixels(pollen().generate("a robot", image=data, **QUICK)))
    with pytest.raises(InvalidParamsError, match=r"^picture: got 5024 x 16 with what is beyond it, allowed"):
        pollen().generate("a robot", image=kept, outpaint=(5000, 0, 0, 0), **QUICK)


def test_what_has_no_effect_is_told() -> None:
    with pytest.warns(IneffectiveParameterWarning, match="keep_unmasked has no effect without a mask_image"):
        pollen().generate("a robot", image=IMAGE, keep_unmasked=False, **QUICK)


def test_a_call_shows_all_that_it_takes() -> None:
    parameters = GenerationParameters.__annotations__.keys()
    for function in (Pipeline.generate, Pipeline.stream, Pipeline.astream, sd_rbee.generate):
        shown = inspect.signature(function).parameters
        assert parameters <= shown.keys()
        assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in parameters)
    for function in (Pipeline.generate, sd_rbee.generate):
        text = inspect.getdoc(function) or ""
        assert all(f"    {name}: " in text for name in parameters)
        assert "**parameters" not in text
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepz'"):
        pollen().generate("a robot", stepz=3)  # type: ignore[call-arg]
