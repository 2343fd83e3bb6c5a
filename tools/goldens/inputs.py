"""Inputs that need not be stored: the same numbers in every version of numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def normal(seed: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Standard normal values from numpy's frozen generator."""
    return np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32)
