"""How far numbers and pictures are apart."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rms(values: ArrayLike) -> float:
    """Root mean square, computed in f64."""
    return float(np.sqrt(np.mean(np.asarray(values, np.float64) ** 2)))


def relative_rms(values: ArrayLike, expected: ArrayLike) -> float:
    """RMS of the difference over the RMS of `expected`; NaN where a value is NaN.

    Raises:
        ValueError: The shapes differ.
    """
    return rms(_difference(values, expected)) / rms(expected)


def psnr(pixels: ArrayLike, expected: ArrayLike) -> float:
    """Peak signal-to-noise ratio of pictures with values of 0 to 255, in decibels; infinite for equal ones.

    Raises:
        ValueError: The shapes differ.
    """
    error = rms(_difference(pixels, expected))
    return float("inf") if error == 0 else float(20 * np.log10(255 / error))


def _difference(values: ArrayLike, expected: ArrayLike) -> NDArray[np.float64]:
    ours, theirs = np.asarray(values, np.float64), np.asarray(expected, np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"shape {ours.shape}, expected {theirs.shape}")
    return ours - theirs
