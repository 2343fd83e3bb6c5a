"""Random numbers against torch's, bit by bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sd_rbee.backend import native
from tools.goldens.store import Golden, load


@pytest.mark.parametrize("case", load("random").cases, ids=lambda case: str(case["seed"]))
def test_draws_are_those_of_torch(case: dict[str, Any], golden: Callable[[str], Golden]) -> None:
    expected = golden("random").arrays[str(case["seed"])]
    start = 0
    for shapes in case["runs"]:
        generator = native.Generator(case["seed"])
        for number, shape in enumerate(shapes):
            drawn = np.asarray(generator.randn(shape))
            stop = start + drawn.size
            assert drawn.shape == tuple(shape)
            np.testing.assert_array_equal(
                drawn.ravel().view(np.uint32), expected[start:stop].view(np.uint32), f"draw {number} of {shapes}"
            )
            start = stop
    assert start == len(expected)
