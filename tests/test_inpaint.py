"""Borders, fills, crops and overlays by themselves."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from given_images import noise, values
from sd_rbee import inpaint
from sd_rbee.resizing import cover, fit

examples = settings(deadline=None, derandomize=True, max_examples=200)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
borders = st.tuples(*[st.integers(0, 30)] * 4)


@examples
@given(sizes, borders)
def test_a_border_is_filled_with_the_edge_next_to_it(size: tuple[int, int], border: tuple[int, int, int, int]) -> None:
    picture = noise(*size)
    alpha = inpaint.add_border(Image.new("L", size, 255), border, 0)
    left, top, right, bottom = border
    expected = np.pad(values(picture), ((top, bottom), (left, right), (0, 0)), "edge")
    filled = inpaint.extend_edges(inpaint.add_border(picture, border, 0), alpha)
    assert np.array_equal(values(filled), expected)


def nearest_distances(opaque: NDArray[np.bool_]) -> NDArray[np.int64]:
    """City-block distance of each pixel to the nearest opaque one."""
    everywhere = np.indices(opaque.shape).transpose(1, 2, 0)[:, :, None]
    distances: NDArray[np.int64] = np.abs(everywhere - np.argwhere(opaque)).sum(axis=-1)
    return distances


@examples
@given(sizes, st.integers(0, 2**32 - 1), st.floats(0.01, 0.99))
def test_holes_are_filled_from_near_and_nothing_else_changes(size: tuple[int, int], seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    alpha = np.where(random.random(size[::-1]) < share, 0, 255).astype(np.uint8)
    alpha[random.integers(0, size[1]), random.integers(0, size[0])] = 255
    opaque = alpha == 255
    # Colours that tell where they are from.
    places = np.zeros((*opaque.shape, 3), np.uint8)
    places[..., 0], places[..., 1] = np.indices(opaque.shape)
    places[..., 2] = 255
    filled = values(
        inpaint.extend_edges(Image.fromarray(np.where(opaque[..., None], places, 0)), Image.fromarray(alpha))
    )
    assert np.array_equal(filled[opaque], places[opaque])
    assert (filled[..., 2] == 255).all()
    source = filled[..., :2].astype(int)
    assert opaque[source[..., 0], source[..., 1]].all()
    moved = np.abs(source - places[..., :2]).sum(axis=-1)
    assert (moved <= 4 * nearest_distances(opaque).min(axis=-1)).all()


def test_where_nothing_is_opaque_nothing_is_filled() -> None:
    picture = noise(9, 5)
    assert np.array_equal(values(inpaint.extend_edges(picture, Image.new("L", (9, 5), 127))), values(picture))


@examples
@given(sizes, st.integers(0, 2**32 - 1), sizes, st.integers(0, 50))
def test_a_crop_holds_the_mask_and_lies_in_the_image(
    size: tuple[int, int], seed: int, drawing: tuple[int, int], padding: int
) -> None:
    random = np.random.default_rng(seed)
    mask = (random.random(size[::-1]) < 0.02).astype(np.uint8)
    region = inpaint.crop_region(Image.fromarray(mask), drawing, padding)
    if not mask.any():
        assert region is None
        return
    assert region is not None
    left, top, right, bottom = region
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert mask[top:bottom, left:right].sum() == mask.sum()


@examples
@given(sizes, sizes)
def test_any_size_comes_to_any_size(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert fit(noise(*size), wanted).size == wanted
    assert cover(noise(*size), wanted).size == wanted


@examples
@given(sizes, st.integers(0, 2**32 - 1))
def test_an_overlay_keeps_bits_where_the_mask_is_black_and_takes_them_where_it_is_white(
    size: tuple[int, int], seed: int
) -> None:
    original, drawn = noise(*size, seed=seed), noise(*size, seed=seed + 1)
    mask = values(noise(*size, "L", seed=seed + 2)).copy()
    mask[mask < 80] = 0
    mask[mask > 170] = 255
    laid = values(inpaint.overlay(Image.fromarray(mask), original, drawn)).astype(int)
    assert np.array_equal(laid[mask == 0], values(original)[mask == 0])
    assert np.array_equal(laid[mask == 255], values(drawn)[mask == 255])
    share = mask[..., None] / 255
    mixed = share * values(drawn) + (1 - share) * values(original)
    assert np.abs(laid - mixed).max() <= 3


def test_what_is_transparent_shows_white_paper() -> None:
    picture = Image.new("RGB", (3, 1), (100, 0, 200))
    alpha = Image.fromarray(np.array([[0, 128, 255]], np.uint8))
    assert values(inpaint.on_white(picture, alpha))[0].tolist() == [[255, 255, 255], [177, 127, 227], [100, 0, 200]]
