"""Tensors that cross between the engine and Python by the buffer protocol."""

from typing import Any

import numpy as np
import pytest

from sd_rbee import InvalidParamsError
from sd_rbee.backend import native


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3, 4), (1, 1, 1, 1, 2), (0, 4)])
def test_a_tensor_holds_the_values_it_was_given(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    tensor = native.Tensor(values.data)
    back = np.asarray(tensor)
    assert tensor.shape == back.shape == shape
    assert str(back.dtype) == "float32"
    assert np.array_equal(back, values)
    assert not np.shares_memory(back, values)
    assert np.shares_memory(back, np.asarray(tensor)) == (values.size > 0)
    assert not back.flags.writeable


REFUSED: dict[str, Any] = {
    "f64": np.zeros(3),
    "f16": np.zeros(3, np.float16),
    "i32": np.zeros(3, np.int32),
    "big-endian": np.ones(3, ">f4"),
    "every second": np.zeros(6, np.float32)[::2],
    "Fortran": np.zeros((2, 3), np.float32, order="F"),
    "no dimension": np.float32(1.0),
    "six dimensions": np.zeros((1,) * 6, np.float32),
    "bytes": b"1234",
    "a list": [1.0, 2.0],
    "nothing": None,
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_tensor(case: str) -> None:
    with pytest.raises(
        InvalidParamsError, match=r"^values: got .*, allowed is a C-contiguous float32 buffer"
    ) as caught:
        native.Tensor(REFUSED[case])
    assert caught.value.field == "values"


def apart(values: list[float], reference: list[float]) -> tuple[float, float]:
    difference = native.compare(*(np.array(side, np.float32).data for side in (values, reference)))
    return difference.relative_rms, difference.max_abs


def test_how_far_apart() -> None:
    assert apart([1, 1], [1, 1]) == (0, 0)
    assert apart([1.5, 1.5], [1, 1]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="shapes differ"):
        apart([1, 1], [1])


def test_nan_is_never_equal() -> None:
    assert np.isnan(apart([1, np.nan, 1], [1, 1, 1])).all()
    assert np.isnan(apart([1, 1, 1], [1, np.nan, 1])).all()
