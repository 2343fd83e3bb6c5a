"""The parts of a model that a worker can compute, for all engines on the same inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

# A guided step is a batch of two: without and with the prompt.
GUIDED = 2
TIMESTEP = 500.0
# Latents are standard normal; the decoder gets them unscaled.
LATENTS_SEED = 7


def time_ids(side: int) -> tuple[float, ...]:
    """What SDXL is told of a square picture that was neither scaled nor cropped: original size, corner, target size."""
    return (side, side, 0, 0, side, side)


class Conditions(NamedTuple):
    """What a UNet sees of a prompt, without and with it as one batch.

    Attributes:
        embeddings: (2, window, width)
        pooled: (2, width); None of models whose UNet takes none.
        time_ids: (2, 6); None with it.
    """

    embeddings: Any
    pooled: Any = None
    time_ids: Any = None


@dataclass(frozen=True)
class Task:
    """What a process is to load, and how to draw with it.

    Attributes:
        engine: Name of the engine.
        folder: The model, in diffusers layout.
        steps: Sampling steps of a picture.
        guidance: Guidance scale of a picture.
        cache: Where conversions of the model are.
        threads: To compute on.
    """

    engine: str
    folder: Path
    steps: int
    guidance: float
    cache: Path
    threads: int


@dataclass(frozen=True)
class Part:
    """One thing to time.

    Attributes:
        run: Computes it.
        raw: Bytes of what `run` returned, for comparing engines: float32, of a picture uint8.
        flops: Floating-point operations of its products by the plain algorithms; None where nobody counted them.
    """

    run: Callable[[], Any]
    raw: Callable[[Any], bytes]
    flops: float | None = None


Parts = dict[str, Part]
