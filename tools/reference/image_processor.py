"""diffusers' VaeImageProcessor, called as its inpainting pipelines call it."""

from typing import Any

import numpy as np
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from PIL import Image


def process(
    image: Image.Image,
    mask: Image.Image,
    drawn: Image.Image,
    *,
    size_multiple: int,
    mask_blur: float,
    padding_mask_crop: int | None,
) -> dict[str, NDArray[Any]]:
    """What the pipeline makes of its inputs, and of what it drew.

    Returns:
        image: f32 (3, height, width) in -1 to 1.
        mask: f32 (height, width) of 0 and 1.
        overlay: uint8 (height, width, 3) of the image's size, `drawn` under the image; absent where `drawn` would have
            to be resized without a crop, which diffusers does not do.
    """
    images = VaeImageProcessor(vae_scale_factor=size_multiple)
    masks = VaeImageProcessor(
        vae_scale_factor=size_multiple, do_normalize=False, do_binarize=True, do_convert_grayscale=True
    )
    size = {"height": drawn.height, "width": drawn.width}
    mask = masks.blur(mask, mask_blur) if mask_blur else mask
    crop: dict[str, Any] = {}
    region = None
    if padding_mask_crop is not None:
        region = masks.get_crop_region(mask, drawn.width, drawn.height, pad=padding_mask_crop)
        crop = {"crops_coords": region, "resize_mode": "fill"}
    made: dict[str, NDArray[Any]] = {
        "image": images.preprocess(image, **size, **crop)[0].numpy(),
        "mask": masks.preprocess(mask, **size, **crop)[0, 0].numpy(),
    }
    if region is not None or drawn.size == image.size:
        made["overlay"] = np.asarray(images.apply_overlay(mask, image, drawn, region))
    return made
