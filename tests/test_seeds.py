"""One seed is one picture."""

from typing import Any

import numpy as np
import pytest

from sd_rbee import InvalidParamsError
from sd_rbee.backend import native
from support import pixels, pollen, small

SAMPLERS: list[dict[str, Any]] = [
    {"scheduler": "ddim"},
    {"scheduler": "ddim", "eta": 1.0},
    {"scheduler": "tcd", "eta": 0.3},
    *({"scheduler": name} for name in native.Scheduler.names() if name != "ddim"),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: "-".join(map(str, sampler.values())))
def test_a_picture_of_a_batch_is_its_seed_alone(sampler: dict[str, Any]) -> None:
    batch = pollen().generate("a robot", **small(num_images_per_prompt=3, num_inference_steps=4, **sampler))
    assert batch.seeds == [7, 8, 9]
    for index, seed in enumerate(batch.seeds):
        alone = pollen().generate("a robot", **small(seed=seed, num_inference_steps=4, **sampler))
        assert alone.seeds == [seed]
        assert np.array_equal(pixels(batch, index), pixels(alone))
    assert not np.array_equal(pixels(batch, 0), pixels(batch, 1))


def test_a_seed_comes_again() -> None:
    first, second = (pollen().generate("a robot", **small(seed=2**64 - 1)) for _ in range(2))
    assert first.seeds == second.seeds == [2**64 - 1]
    assert np.array_equal(pixels(first), pixels(second))


def test_a_seed_has_64_bits() -> None:
    low, high = (pollen().generate("a robot", **small(seed=seed)) for seed in (7, 7 + 2**63))
    assert high.seeds == [7 + 2**63]
    assert low.seeds == [7]


def test_a_random_seed_is_reported() -> None:
    first, second = (pollen().generate("a robot", **small(seed=None)) for _ in range(2))
    assert first.seeds != second.seeds
    assert all(0 <= seed < 2**64 for seed in first.seeds)
    again = pollen().generate("a robot", **small(seed=first.seeds[0]))
    assert np.array_equal(pixels(first), pixels(again))


def test_seeds_do_not_wrap() -> None:
    with pytest.raises(InvalidParamsError) as caught:
        pollen().generate("a robot", **small(seed=2**64 - 1, num_images_per_prompt=2))
    assert caught.value.field == "seed"
