"""How near is near enough, and how near something is.

The bounds are those of f32 on a CPU. What a value is compared with has been rounded to f32 too, so that no bound is 0
but where the bits are asked for.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def rms(values: ArrayLike) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.asarray(values, np.float64) ** 2)))


def relative_rms(values: ArrayLike, expected: ArrayLike) -> float:
    """RMS of the difference over the RMS of `expected`; NaN where a value is NaN."""
    ours, theirs = np.asarray(values, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == theirs.shape, f"shape {ours.shape}, expected {theirs.shape}"
    return rms(ours - theirs) / rms(theirs)


def psnr(pixels: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in decibels; infinite for equal pictures."""
    mean_square = np.mean((pixels.astype(np.float64) - expected.astype(np.float64)) ** 2)
    return float("inf") if mean_square == 0 else float(10 * np.log10(255**2 / mean_square))


def assert_same_picture(pixels: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """Within the bounds of a whole picture."""
    assert pixels.shape == expected.shape
    apart = int(np.max(np.abs(pixels.astype(np.int16) - expected.astype(np.int16))))
    assert apart <= PICTURE_MAX, f"a value differs by {apart}, allowed is {PICTURE_MAX}"
    assert psnr(pixels, expected) >= PICTURE_PSNR
