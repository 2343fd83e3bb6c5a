"""Images and masks made ready for the engine, against diffusers, live and bit by bit."""

import numpy as np
import pytest

import needs_torch  # noqa: F401
from draws import draw, seeds
from sd_rbee.spec import GenerationSpec
from test_image_processor_goldens import made_ready
from tools.goldens.image_processor import mask, picture
from tools.reference.image_processor import process

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("seed", seeds(300))
def test_any_size_blur_and_crop(seed: int) -> None:
    random = draw(seed, "image processor")
    image_size = random.randint(4, 200), random.randint(4, 200)
    size = 8 * random.randint(1, 20), 8 * random.randint(1, 20)
    if random.random() < 0.3:
        size = image_size = 8 * random.randint(1, 20), 8 * random.randint(1, 20)
    mode = random.choice(("L", "RGB", "RGBA", "LA", "1"))
    blur = 0.0 if mode == "1" else random.choice((0.0, 0.5, random.uniform(0, 30)))
    padding = random.choice((None, 0, random.randint(1, 40)))
    image, mask_image = picture(seed, image_size), mask(seed, image_size, mode)
    drawn = picture(seed + 500, size)
    try:
        expected = process(image, mask_image, drawn, size_multiple=8, mask_blur=blur, padding_mask_crop=padding)
    except (ValueError, ZeroDivisionError) as error:
        # Strips that diffusers would resize to nothing, and masks that were blurred to nothing.
        pytest.skip(str(error))
    width, height = size
    spec = GenerationSpec.of(
        "", image=image, mask_image=mask_image, width=width, height=height, mask_blur=blur, padding_mask_crop=padding
    )
    made = made_ready(spec, seed + 500)
    for name, array in expected.items():
        np.testing.assert_array_equal(made[name], array, name)
