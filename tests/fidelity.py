"""How near is near enough.

The bounds are those of f32 on a CPU. What a value is compared with has been rounded to f32 too, so that no bound is 0
but where the bits are asked for.
"""

import numpy as np
from numpy.typing import NDArray

from tools.metrics import psnr

# Relative, each timestep and sigma.
SCHEDULE = 1e-6
# Relative RMS of a sample, after every step.
TRAJECTORY = 1e-5
# Relative RMS of one forward of a small network.
NETWORK = 1e-5
# A whole picture: decibels, and the largest difference in 255ths.
PICTURE_PSNR = 60.0
PICTURE_MAX = 2
# A whole picture with products of bf16 beside the same in f32.
BF16_PSNR = 35.0
# The same with the UNet's linear layers quantised.
INT8_PSNR = 35.0


def assert_same_picture(pixels: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """Within the bounds of a whole picture."""
    assert pixels.shape == expected.shape
    apart = int(np.max(np.abs(pixels.astype(np.int16) - expected.astype(np.int16))))
    assert apart <= PICTURE_MAX, f"a value differs by {apart}, allowed is {PICTURE_MAX}"
    assert psnr(pixels, expected) >= PICTURE_PSNR
