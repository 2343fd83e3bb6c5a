"""How long a training stage goes on, and how its learning rate rises and falls meanwhile."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

WARM_UP_STEPS = 300
# A run of a few minutes has fewer steps than a warm-up should take, so this share of the run ends it as well.
WARM_UP_SHARE = 0.05
LAST_RATE = 0.01


@dataclass
class Budget:
    """Minutes or steps, whichever was asked for.

    Attributes:
        minutes: Wall-clock minutes of training, used where `steps` is None.
        steps: Optimizer steps, or None.
        spent: Seconds that earlier processes of an interrupted run have trained already.
    """

    minutes: float
    steps: int | None
    spent: float = 0.0
    _began: float = field(default_factory=time.monotonic, init=False)

    def elapsed(self) -> float:
        """Seconds trained so far."""
        return self.spent + time.monotonic() - self._began

    def share(self, step: int) -> float:
        """How much of the run is over after `step` steps, 0 to 1."""
        done = step / self.steps if self.steps is not None else self.elapsed() / (60 * self.minutes)
        return min(1.0, done)


def rate_factor(step: int, share: float, hold: float) -> float:
    """Return what the peak learning rate is multiplied by: a linear rise, a plateau, a cosine down to 1 %.

    Args:
        step: Steps taken, from 0.
        share: How much of the run is over, 0 to 1.
        hold: Share of the run at which the fall begins, 0 up to but not including 1.
    """
    rise = min(1.0, max((step + 1) / WARM_UP_STEPS, share / WARM_UP_SHARE))
    fall = max(0.0, share - hold) / (1 - hold)
    return rise * (LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * fall)) / 2)
