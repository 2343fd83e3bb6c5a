"""Inputs that need not be stored: the same numbers in every version of numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def normal(seed: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Standard normal values from numpy's frozen generator."""
    return np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32)


def picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Waves of every colour under some noise, (height, width, 3); of whole numbers alone, which no library rounds."""
    random = np.random.RandomState(seed)
    down, right, phase = random.randint(-24, 25, 3), random.randint(-24, 25, 3), random.randint(0, 510, 3)
    rows, columns = np.mgrid[:height, :width]
    waves = np.abs((np.multiply.outer(rows, down) + np.multiply.outer(columns, right) + phase) % 510 - 255)
    values: NDArray[np.uint8] = np.clip(waves + random.randint(-24, 25, waves.shape), 0, 255).astype(np.uint8)
    return values


def mask(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A soft blot, (height, width), whose values fall to half of 255 a third of the shorter side from its middle."""
    random = np.random.RandomState(seed)
    row, column = random.randint(height // 4, 3 * height // 4 + 1), random.randint(width // 4, 3 * width // 4 + 1)
    rows, columns = np.mgrid[:height, :width]
    half = (min(height, width) // 3) ** 2
    distance = (rows - row) ** 2 + (columns - column) ** 2
    values: NDArray[np.uint8] = np.clip(255 - 255 * distance // (2 * half), 0, 255).astype(np.uint8)
    return values
