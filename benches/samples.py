"""What was measured, and what it says."""

import math
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal


@dataclass
class Comparison:
    """One part in two engines; entry i of both lists is from round i.

    Attributes:
        part: What was done.
        unit: Of the samples.
        against: The other engine; None where there is none.
        native: Samples of ours.
        other: Samples of the other.
        apart: RMS of the difference of the outputs over RMS of the other's; None where there is nothing to compare.
    """

    part: str
    unit: Literal["s", "MB"]
    against: str | None
    native: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    apart: float | None = None

    @property
    def ratios(self) -> list[float]:
        """Other over native, round by round: above 1 ours is the better."""
        return [other / native for native, other in zip(self.native, self.other, strict=True)] if self.against else []

    def as_json(self) -> dict[str, object]:
        ratios = self.ratios
        return {
            "part": self.part,
            "unit": self.unit,
            "against": self.against,
            "native": _summary(self.native),
            "other": _summary(self.other) if self.against else None,
            "ratio": _summary(ratios) if ratios else None,
            "apart": self.apart,
        }


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
