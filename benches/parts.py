"""The parts of a model that a worker can compute, for all engines on the same inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# A guided step is a batch of two: without and with the prompt.
GUIDED = 2
TIMESTEP = 500.0
# Latents are standard normal; the decoder gets them unscaled.
LATENTS_SEED = 7


@dataclass(frozen=True)
class Part:
    """One thing to time.

    Attributes:
        run: Computes it.
        raw: Bytes of what `run` returned, for comparing engines: float32, of a picture uint8.
    """

    run: Callable[[], Any]
    raw: Callable[[Any], bytes]


Parts = dict[str, Part]
