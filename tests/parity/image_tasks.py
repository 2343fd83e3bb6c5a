"""Pictures and masks to draw over, drawn from a seed."""

import numpy as np
from numpy.typing import NDArray


def random_picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Waves of every colour under some noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    angles = [random.uniform(-0.3, 0.3, 2) for _ in range(3)]
    waves = np.stack([np.sin(rows * down + columns * right) for down, right in angles], axis=-1)
    noise = random.normal(0, 0.1, (height, width, 3))
    picture: NDArray[np.uint8] = np.clip((waves + noise + 1) * 127.5, 0, 255).astype(np.uint8)
    return picture


def random_mask(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A soft blot, or any value anywhere."""
    random = np.random.default_rng(seed)
    if random.random() < 0.3:
        return random.integers(0, 256, (height, width), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    row, column = random.uniform(0, height), random.uniform(0, width)
    distance = np.hypot(rows - row, columns - column)
    blot: NDArray[np.uint8] = np.clip(255 - distance * random.uniform(2, 12), 0, 255).astype(np.uint8)
    return blot
