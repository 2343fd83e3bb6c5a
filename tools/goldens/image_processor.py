"""Images and masks as diffusers makes them ready, and the image laid over what was drawn."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.goldens.inputs import normal
from tools.goldens.store import Golden

_MASK_MODES = ("L", "RGB", "RGBA", "LA", "1")
_SIZES: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = (
    # The image's width and height, and the drawing's.
    ((24, 16), (24, 16)),
    ((27, 21), (24, 16)),
    ((16, 40), (32, 24)),
    ((40, 13), (16, 32)),
    ((70, 50), (24, 24)),
)
CASES: tuple[dict[str, Any], ...] = tuple(
    {
        "seed": number,
        "image_size": image_size,
        "size": size,
        "mask_mode": _MASK_MODES[number % len(_MASK_MODES)],
        "mask_blur": 0.0 if number % len(_MASK_MODES) == 4 else (0.0, 2.5)[number % 2],
        "padding_mask_crop": (None, 0, 5)[number % 3],
    }
    for number, (image_size, size) in enumerate(_SIZES * 6)
)


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """RGB noise."""
    width, height = size
    values = normal(seed, (height, width, 3)) * 60 + 128
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def mask(seed: int, size: tuple[int, int], mode: str) -> Image.Image:
    """A box of greys on black, somewhere in the middle."""
    width, height = size
    values = np.zeros((height, width), np.uint8)
    left, top = 1 + seed * 3 % (width // 2), 1 + seed * 5 % (height // 2)
    box = values[top : top + height // 3 + 1, left : left + width // 3 + 1]
    box[:] = (normal(seed + 1000, box.shape) * 90 + 160).clip(1, 255)
    grey = Image.fromarray(values)
    if mode == "L":
        return grey
    if mode == "1":
        return grey.point(lambda value: 255 if value > 99 else 0).convert("1")
    coloured = grey.convert(mode)
    if "A" in mode:
        coloured.putalpha(
            Image.fromarray((normal(seed + 2000, (height, width)) * 60 + 190).clip(0, 255).astype(np.uint8))
        )
    return coloured


def digest_of(array: NDArray[Any]) -> str:
    """SHA-256 of an array's bits; the values of all cases would take more room than all other goldens' pictures."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def make() -> Golden:
    """Each case holds the digests of what `process` makes of it, by the names that it gives them."""
    from tools.reference.image_processor import process

    golden = Golden([])
    for case in CASES:
        seed, size, image_size = case["seed"], case["size"], case["image_size"]
        made = process(
            picture(seed, image_size),
            mask(seed, image_size, case["mask_mode"]),
            picture(seed + 500, size),
            size_multiple=8,
            mask_blur=case["mask_blur"],
            padding_mask_crop=case["padding_mask_crop"],
        )
        golden.cases.append({**case, "digests": {name: digest_of(array) for name, array in made.items()}})
    return golden
