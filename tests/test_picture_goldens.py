"""Whole pictures of the embedded model against diffusers' StableDiffusionPipeline."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fidelity
from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.digest import digest
from tools.goldens.rows import pixels
from tools.goldens.store import Golden, load

_CASES = [
    pytest.param(number, case, id=f"{case['scheduler']}-{number}") for number, case in enumerate(load("pictures").cases)
]


@pytest.mark.parametrize(("number", "case"), _CASES)
def test_picture(number: int, case: dict[str, Any], pollen: native.Pipeline, golden: Callable[[str], Golden]) -> None:
    goldens = golden("pictures")
    assert goldens.facts["pollen"] == digest(models.resolve("pollen")), (
        "the goldens are those of another model: python -m tools.goldens networks pictures"
    )
    drawn = pollen.generate(**case).images
    for image, expected in zip(drawn, pixels(goldens.arrays[str(number)]), strict=True):
        fidelity.assert_same_picture(np.asarray(image), expected)
