"""Images and masks made ready for the engine, against diffusers' bit by bit."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from given_images import values
from sd_rbee.backend import native
from sd_rbee.initial_image import lay_out, prepare
from sd_rbee.pixels import to_buffer
from sd_rbee.spec import GenerationSpec
from tools.goldens.image_processor import digest_of, mask, picture
from tools.goldens.store import load


def made_ready(spec: GenerationSpec, drawn_seed: int) -> dict[str, NDArray[Any]]:
    """What `tools.reference.image_processor.process` gives, and the overlay in any case."""
    layout = lay_out(spec, 8, (64, 64))
    assert layout is not None
    initial = prepare(spec, layout)
    image = np.asarray(initial.arguments["image"]).transpose(2, 0, 1)
    drawn = native.Image(to_buffer(picture(drawn_seed, layout.drawing)))
    return {
        "image": 2 * (image.astype(np.float32) / 255) - 1,
        "mask": (np.asarray(initial.arguments["mask_image"]) >= 128).astype(np.float32),
        "overlay": np.asarray(initial.finish(drawn)),
    }


@pytest.mark.parametrize("case", load("image_processor").cases, ids=lambda case: str(case["seed"]))
def test_as_diffusers(case: dict[str, Any]) -> None:
    image_size, (width, height) = tuple(case["image_size"]), case["size"]
    spec = GenerationSpec.of(
        "",
        image=picture(case["seed"], image_size),
        mask_image=mask(case["seed"], image_size, case["mask_mode"]),
        width=width,
        height=height,
        mask_blur=case["mask_blur"],
        padding_mask_crop=case["padding_mask_crop"],
    )
    digests = {name: digest_of(array) for name, array in made_ready(spec, case["seed"] + 500).items()}
    assert {"image", "mask"} <= case["digests"].keys()
    assert {name: digests[name] for name in case["digests"]} == case["digests"]


def test_float_arrays_are_those_pictures() -> None:
    shown = picture(3, (24, 16))
    by_array, by_picture = (
        GenerationSpec.of("", image=image) for image in (values(shown).astype(np.float32) / 255, shown)
    )
    assert by_array == by_picture
