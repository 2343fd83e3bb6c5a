"""What was measured, and what it says."""

import math
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal


@dataclass
class Side:
    """One engine's samples; entry i is from round i.

    Attributes:
        engine: Its name.
        samples: Seconds or megabytes.
        peak: Floating-point operations a second that the machine reached at most in this engine's dtype, during these
            rounds; None where it does not matter.
    """

    engine: str
    samples: list[float] = field(default_factory=list)
    peak: float | None = None


@dataclass
class Comparison:
    """One part in two engines, which took turns.

    Attributes:
        part: What was done.
        unit: Of the samples.
        native: One of ours.
        other: The other engine; None where there is none.
        apart: RMS of the difference of the outputs over RMS of the other's; None where there is nothing to compare.
        flops: Floating-point operations of the part's products by the plain algorithms.
    """

    part: str
    unit: Literal["s", "MB"]
    native: Side
    other: Side | None
    apart: float | None = None
    flops: float | None = None

    @property
    def sides(self) -> list[Side]:
        return [self.native, self.other] if self.other else [self.native]

    @property
    def ratios(self) -> list[float]:
        """Other over native, round by round: above 1 ours is the better."""
        if self.other is None:
            return []
        return [other / native for native, other in zip(self.native.samples, self.other.samples, strict=True)]

    def share(self, side: Side) -> float | None:
        """Share of the machine's peak; above 1 the engine saves products that the plain algorithms do."""
        if self.flops is None or side.peak is None:
            return None
        return self.flops / median(side.samples) / side.peak

    def as_json(self) -> dict[str, object]:
        ratios = self.ratios
        return {
            "part": self.part,
            "unit": self.unit,
            "native": self._side(self.native),
            "other": self._side(self.other) if self.other else None,
            "ratio": _summary(ratios) if ratios else None,
            "apart": self.apart,
            "flops": self.flops,
        }

    def _side(self, side: Side) -> dict[str, object]:
        peak = {"peak_flops": side.peak, "share_of_peak": self.share(side)}
        return {"engine": side.engine, **_summary(side.samples), **peak}


@dataclass
class Distribution:
    """One thing measured many times.

    Attributes:
        part: What was measured.
        unit: Of the samples.
        samples: In the order of measuring.
    """

    part: str
    unit: Literal["s", "MB"]
    samples: list[float] = field(default_factory=list)

    def at(self, share: float) -> float:
        """The smallest sample that this share of all, 0 to 1, does not exceed."""
        return sorted(self.samples)[max(0, math.ceil(share * len(self.samples)) - 1)]

    def as_json(self) -> dict[str, object]:
        percentiles = {"p50": self.at(0.5), "p99": self.at(0.99)}
        return {"part": self.part, "unit": self.unit, **percentiles, **_summary(self.samples)}


def _summary(samples: list[float]) -> dict[str, object]:
    return {"min": min(samples), "median": median(samples), "max": max(samples), "samples": samples}


def relative_rms(values: Path, reference: Path, code: Literal["f", "B"]) -> float:
    """RMS of the difference of two files of float32 or uint8 values, over RMS of the reference.

    Raises:
        ValueError: They do not hold equally many values.
    """
    ours, theirs = (array(code, path.read_bytes()) for path in (values, reference))
    if len(ours) != len(theirs):
        raise ValueError(f"outputs: got {len(ours)} values and {len(theirs)}, allowed is equally many")
    difference = sum((one - other) ** 2 for one, other in zip(ours, theirs, strict=True))
    scale = sum(other**2 for other in theirs)
    return math.sqrt(difference / scale) if scale else math.inf
