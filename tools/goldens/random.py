"""Random numbers: draws of every small size, odd shapes, and runs of draws from one generator."""

import numpy as np

from tools.goldens.store import Golden
from tools.reference.random import randn

SEEDS = (0, 1, 42, 2**31, 2**32 - 1, 2**32 + 5, 2**63 + 11, 2**64 - 1)
# Each run is a list of shapes, drawn one after the other from a fresh generator.
RUNS = [
    *([[size]] for size in (*range(1, 18), 31, 32, 33, 1000)),
    [[3, 5, 7]],
    [[1, 4, 9, 11]],
    [[2, 1, 3]],
    # The second value of a pair waits for the next small draw, over larger draws between.
    [[1], [1], [3], [16], [1], [5], [17], [2], [15], [40], [1], [31], [3]],
    [[15], [1], [1, 4, 8, 8], [7], [1, 4, 8, 8], [1]],
]


def make() -> Golden:
    """One case a seed: the values of all runs, one after the other, are the array of the seed's name."""
    golden = Golden([])
    for seed in SEEDS:
        values = [drawn.ravel() for shapes in RUNS for drawn in randn(seed, shapes)]
        golden.arrays[str(seed)] = np.concatenate(values)
        golden.cases.append({"seed": seed, "runs": RUNS})
    return golden
