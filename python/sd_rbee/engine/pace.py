"""How long jobs take, from how long they took."""

_WEIGHT_OF_NEWEST = 0.3


class Pace:
    """A moving average of seconds a unit of work, and of seconds a job."""

    def __init__(self) -> None:
        self._seconds_per_work: float | None = None
        self._seconds_per_job: float | None = None

    def measured(self, work: float, seconds: float) -> None:
        """Takes a finished job into account."""
        self._seconds_per_work = _blend(self._seconds_per_work, seconds / work)
        self._seconds_per_job = _blend(self._seconds_per_job, seconds)

    def estimate(self, work: float) -> float | None:
        """Seconds that this much work will take; None until a job was measured."""
        return None if self._seconds_per_work is None else work * self._seconds_per_work

    @property
    def seconds_per_job(self) -> float | None:
        """Average seconds a job; None until one was measured."""
        return self._seconds_per_job


def _blend(average: float | None, newest: float) -> float:
    return newest if average is None else average + _WEIGHT_OF_NEWEST * (newest - average)
