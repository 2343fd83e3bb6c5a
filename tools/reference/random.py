"""torch's CPU generator."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray


def randn(seed: int, shapes: Iterable[Sequence[int]]) -> list[NDArray[np.float32]]:
    """One draw of each shape, one after the other, from a generator seeded once."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator).numpy() for shape in shapes]
