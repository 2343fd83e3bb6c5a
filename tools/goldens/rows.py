"""Pictures as differences between neighbours along a row, which deflate to half the size of the pixels."""

import numpy as np
from numpy.typing import NDArray

_COLUMNS = -2


def differences(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of pixels (…, height, width, channels)."""
    return np.diff(pixels, axis=_COLUMNS, prepend=np.uint8(0))


def pixels(differences: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What `differences` was made from."""
    return np.cumsum(differences, axis=_COLUMNS, dtype=np.uint8)
