"""What a streamed generation says, in order: one `Started`, many `Progress`, one `Complete`."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sd_rbee.backend import native
from sd_rbee.result import GenerationResult


@dataclass(frozen=True, slots=True)
class Started:
    """The generation was handed to the engine."""

    num_images: int


@dataclass(frozen=True, slots=True)
class Progress:
    """One unit of work is done: a sampling step, a decoded image, or a whole phase.

    Attributes:
        phase: The phase that the unit belongs to.
        image: Index of the image, from 0.
        step: Units of this phase done, over all images, from 1.
        total: Units of this phase in all, over all images.
        elapsed: Seconds since the generation began.
        eta: Estimated seconds to its end; None until a step was measured.
    """

    phase: Literal["encode", "prepare", "denoise", "decode"]
    image: int
    step: int
    total: int
    elapsed: float
    eta: float | None

    @classmethod
    def of(cls, step: native.Step) -> "Progress":
        """The event of one of the engine's steps."""
        return cls(step.phase, step.image, step.step, step.total, step.elapsed, step.eta)


@dataclass(frozen=True, slots=True)
class Complete:
    """The generation is done."""

    result: GenerationResult


Event: TypeAlias = Started | Progress | Complete
