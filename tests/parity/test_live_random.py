"""Random numbers against torch, live and bit by bit."""

import itertools

import numpy as np
import pytest

import needs_torch  # noqa: F401
from draws import draw, seeds
from sd_rbee.backend import native
from tools.reference.random import randn

pytestmark = pytest.mark.parity


def _assert_same_bits(seed: int, shapes: list[list[int]]) -> None:
    generator = native.Generator(seed)
    for shape, theirs in zip(shapes, randn(seed, shapes), strict=True):
        ours = np.asarray(generator.randn(shape))
        np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.parametrize("seed", seeds(1))
def test_ten_million_draws_at_once(seed: int) -> None:
    """A second or two."""
    _assert_same_bits(draw(seed, "one tensor").getrandbits(64), [[10_000_000]])


@pytest.mark.parametrize("seed", seeds(1))
def test_a_million_draws_one_by_one(seed: int) -> None:
    """Each in f64, the second of a pair kept for the next; some seconds."""
    _assert_same_bits(draw(seed, "small tensors").getrandbits(64), list(itertools.repeat([15], 66_667)))


@pytest.mark.parametrize("seed", seeds(200))
def test_any_seed_and_run_of_shapes(seed: int) -> None:
    random = draw(seed, "shapes")
    shapes = [[random.randint(1, 3), random.randint(1, 5), random.randint(1, 40)] for _ in range(20)]
    shapes += [[random.randint(1, 17)] for _ in range(20)]
    random.shuffle(shapes)
    _assert_same_bits(random.getrandbits(random.choice((8, 32, 33, 64))), shapes)
