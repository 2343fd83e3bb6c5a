"""The image that a generation begins with: its size for the engine, its mask, and what is done with what was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops

from sd_rbee import inpaint
from sd_rbee.backend import native
from sd_rbee.errors import InvalidParamsError
from sd_rbee.input_images import MAX_PIXELS
from sd_rbee.pixels import from_native, to_buffer
from sd_rbee.resizing import fit, stretch
from sd_rbee.spec import ONLY_OF_IMAGES, GenerationSpec

# The engine's own limits, known here because an image is resized before the engine is asked.
MAX_SIDE = 4096
MAX_BLUR = 1024.0
_OF_MASKS = ("mask_blur", "padding_mask_crop")

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of a generation that begins with an image.

    Attributes:
        canvas: The image's, with what is drawn beyond it.
        drawing: What the model draws.
        is_masked: Whether a part of the image stays.
        warnings: What was given to no effect.
    """

    canvas: Size
    drawing: Size
    is_masked: bool
    warnings: Sequence[str] = ()

    def stand_in(self, size_multiple: int) -> dict[str, memoryview]:
        """Arguments for the engine's `check`: the smallest image, as sizes are checked here."""
        size = size_multiple, size_multiple
        arguments = {"image": to_buffer(Image.new("RGB", size))}
        return {**arguments, "mask_image": to_buffer(Image.new("L", size))} if self.is_masked else arguments


def lay_out(spec: GenerationSpec, size_multiple: int, own_size: Size) -> Layout | None:
    """The sizes, before anything is decoded; None for a generation without an image.

    Args:
        spec: What to draw.
        size_multiple: What sides must be multiples of.
        own_size: What the model draws where it is told nothing.

    Raises:
        InvalidParamsError: A side that cannot be drawn, a mask of another size, or what has no meaning without an image
            or a mask.
    """
    if spec.image is None:
        _refuse_without_image(spec)
        return None
    for field in ("height", "width"):
        _check_side(field, getattr(spec, field), size_multiple)
    _check_mask(spec)
    left, top, right, bottom = spec.outpaint or (0, 0, 0, 0)
    canvas = spec.image.width + left + right, spec.image.height + top + bottom
    if canvas[0] * canvas[1] > MAX_PIXELS:
        raise InvalidParamsError("outpaint", f"a picture of {canvas[0]} x {canvas[1]}", f"at most {MAX_PIXELS} pixels")
    is_masked = spec.mask_image is not None or spec.outpaint is not None or spec.image.is_transparent
    warnings = []
    if not is_masked:
        for field in _OF_MASKS:
            if _is_given(spec, field):
                raise InvalidParamsError(field, str(getattr(spec, field)), "nothing without a mask_image")
        if not spec.keep_unmasked:
            warnings.append("keep_unmasked has no effect without a mask_image")
    if spec.width is not None and spec.height is not None:
        drawing = spec.width, spec.height
    else:
        # A part that is enlarged has no size of its own.
        whole = own_size if spec.padding_mask_crop is not None else canvas
        drawing = spec.width or whole[0] - whole[0] % size_multiple, spec.height or whole[1] - whole[1] % size_multiple
        _check_drawing(spec, canvas, drawing, size_multiple)
    return Layout(canvas, drawing, is_masked, warnings)


def _refuse_without_image(spec: GenerationSpec) -> None:
    if spec.mask_image is not None:
        given = f"a mask of {spec.mask_image.width} x {spec.mask_image.height}"
        raise InvalidParamsError(spec.mask_image.field, given, "none without an image")
    for field in (*_OF_MASKS, "outpaint"):
        if _is_given(spec, field):
            raise InvalidParamsError(field, str(getattr(spec, field)), "nothing without an image")


def _is_given(spec: GenerationSpec, field: str) -> bool:
    return bool(getattr(spec, field) != spec.__dataclass_fields__[field].default)


def _check_mask(spec: GenerationSpec) -> None:
    assert spec.image is not None
    if not 0 <= spec.mask_blur <= MAX_BLUR:
        raise InvalidParamsError("mask_blur", str(spec.mask_blur), f"0 to {MAX_BLUR:g} pixels")
    if spec.outpaint is not None and not any(spec.outpaint):
        raise InvalidParamsError("outpaint", str(spec.outpaint), "more than 0 pixels on one side at least")
    if spec.mask_image is not None and spec.mask_image.size != spec.image.size:
        given = f"a mask of {spec.mask_image.width} x {spec.mask_image.height}"
        raise InvalidParamsError(
            spec.mask_image.field, given, f"the image's size, {spec.image.width} x {spec.image.height}"
        )


def _check_side(field: str, side: int | None, multiple: int) -> None:
    if side is not None and (side % multiple or side > MAX_SIDE):
        largest = MAX_SIDE - MAX_SIDE % multiple
        nearest = max(multiple, min(largest, (side + multiple // 2) // multiple * multiple))
        allowed = f"a multiple of {multiple} in {multiple} to {largest}; the nearest is {nearest}"
        raise InvalidParamsError(field, str(side), allowed)


def _check_drawing(spec: GenerationSpec, canvas: Size, drawing: Size, multiple: int) -> None:
    assert spec.image is not None
    if min(drawing) < multiple or max(drawing) > MAX_SIDE:
        given = f"{canvas[0]} x {canvas[1]}" + (" with what is beyond it" if spec.outpaint else "")
        allowed = f"sides of {multiple} to {MAX_SIDE - MAX_SIDE % multiple}, unless height and width say how to draw it"
        raise InvalidParamsError(spec.image.field, given, allowed)


@dataclass(frozen=True, slots=True)
class InitialImage:
    """An image made ready for the engine.

    Attributes:
        arguments: The engine's: `image` and, where a part stays, `mask_image`.
        changes: How the image was changed for it, in words.
        parameters: What a result tells of it.
    """

    arguments: dict[str, memoryview]
    changes: list[str]
    parameters: dict[str, Any]
    _original: Image.Image
    _overlay_mask: Image.Image | None
    _region: inpaint.Box | None

    def finish(self, drawn: native.Image) -> native.Image:
        """The picture with the image pasted over what was drawn, where a part of it stays."""
        if self._overlay_mask is None:
            return drawn
        picture = from_native(drawn)
        if self._region is None and picture.size != self._original.size:
            picture = stretch(picture, self._original.size)
        return native.Image(to_buffer(inpaint.overlay(self._overlay_mask, self._original, picture, self._region)))


def prepare(spec: GenerationSpec, layout: Layout) -> InitialImage:
    """Decodes the image and its mask, and brings them to the sizes of the layout.

    Values are those of diffusers' `VaeImageProcessor`; an image that is transparent is made opaque first, which
    diffusers does not do.

    Raises:
        InvalidParamsError: An image that is transparent all over, or a mask to crop to that is black all over.
    """
    changes: list[str] = []
    original, mask = _original_and_mask(spec, changes)
    region = None
    if mask is not None:
        mask = inpaint.blur(mask, spec.mask_blur)
        if spec.padding_mask_crop is not None:
            region = inpaint.crop_region(mask, layout.drawing, spec.padding_mask_crop)
            if region is None:
                raise _nothing_to_crop_to("mask_image" if spec.mask_image is None else spec.mask_image.field)
    arguments = {"image": to_buffer(_resized(original, layout.drawing, region))}
    overlay_mask = None
    if mask is not None:
        arguments["mask_image"] = to_buffer(_resized(mask, layout.drawing, region).convert("L"))
        if spec.keep_unmasked:
            overlay_mask = mask
        elif region is not None:
            overlay_mask = inpaint.rectangle(original.size, region)
    changes.extend(_describe_resizing(layout, region, scaled_back=overlay_mask is not None))
    parameters: dict[str, Any] = {"image_width": original.width, "image_height": original.height}
    if mask is not None:
        parameters |= {name: getattr(spec, name) for name in ONLY_OF_IMAGES if name not in ("image", "mask_image")}
        parameters["crop_region"] = region
    return InitialImage(arguments, changes, parameters, original, overlay_mask, region)


def check_crop(spec: GenerationSpec) -> None:
    """Decodes a mask that is cropped to, and finds out whether there is anything to crop to.

    Raises:
        InvalidParamsError: It is black all over. One that is so only once it is blurred is refused by `prepare`.
    """
    if spec.padding_mask_crop is None or spec.mask_image is None or spec.outpaint is not None:
        return
    if spec.mask_image.as_mask().convert("L").getbbox() is None:
        raise _nothing_to_crop_to(spec.mask_image.field)


def _nothing_to_crop_to(field: str) -> InvalidParamsError:
    return InvalidParamsError(field, "a mask that is black all over", "some white to crop to")


def _original_and_mask(spec: GenerationSpec, changes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """The image without transparency and with its border, and the mask of the same size."""
    assert spec.image is not None
    original, alpha = spec.image.rgb_and_alpha()
    mask = None if spec.mask_image is None else spec.mask_image.as_mask()
    if alpha is not None and alpha.getextrema()[0] == 255:
        alpha = None
    if alpha is not None and (mask is not None or not spec.image.is_transparent):
        original, alpha = inpaint.on_white(original, alpha), None
        changes.append("image: what is transparent was laid on white")
    if spec.outpaint is not None:
        opaque = Image.new("L", original.size, 255) if alpha is None else alpha
        original = inpaint.add_border(original, spec.outpaint, 0)
        alpha = inpaint.add_border(opaque, spec.outpaint, 0)
        mask = None if mask is None else inpaint.add_border(mask.convert("L"), spec.outpaint, 255)
    if alpha is not None:
        if alpha.point(lambda value: value >= inpaint.OPAQUE).getbbox() is None:
            raise InvalidParamsError(spec.image.field, "an image that is transparent all over", "some opaque pixels")
        original = inpaint.extend_edges(original, alpha)
        mask = ImageChops.invert(alpha) if mask is None else mask
        if spec.image.is_transparent:
            changes.append("image: what is transparent is drawn anew")
    return original, mask


def _resized(picture: Image.Image, size: Size, region: inpaint.Box | None) -> Image.Image:
    return stretch(picture, size) if region is None else fit(picture.crop(region), size)


def _describe_resizing(layout: Layout, region: inpaint.Box | None, *, scaled_back: bool) -> list[str]:
    width, height = layout.drawing
    if region is None:
        size, what = layout.canvas, "the image"
    else:
        size = region[2] - region[0], region[3] - region[1]
        what = f"the part of the image from {region[0]}, {region[1]} to {region[2]}, {region[3]}"
    if size == layout.drawing:
        return []
    back = ", and scaled back" if scaled_back else ""
    return [f"{what}, {size[0]} x {size[1]}, was resized to {width} x {height} to be drawn over{back}"]
