"""Jobs by id and by idempotency key, kept for a while after their end."""

import time
from collections import OrderedDict

from sd_rbee.engine.errors import JobExpiredError, JobNotFoundError, KeyReusedError
from sd_rbee.engine.job import Job, Order

_REMEMBERED = 4096


class JobStore:
    """Not thread-safe: the engine calls it under its lock.

    Args:
        keep_seconds: How long a job is kept after its end.
        keep_jobs: How many ended jobs are kept at most; the oldest go first.
    """

    def __init__(self, keep_seconds: float, keep_jobs: int) -> None:
        self._keep_seconds = keep_seconds
        self._keep_jobs = keep_jobs
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._keys: dict[str, str] = {}
        self._expired: OrderedDict[str, None] = OrderedDict()

    def add(self, job: Job, key: str | None) -> None:
        """Keeps a new job."""
        self.sweep()
        self._jobs[job.id] = job
        if key is not None:
            self._keys[key] = job.id

    def get(self, id: str) -> Job:
        """The job of this id.

        Raises:
            JobExpiredError: There was one.
            JobNotFoundError: There was none, as far as is remembered.
        """
        self.sweep()
        if id in self._jobs:
            return self._jobs[id]
        if id in self._expired:
            raise JobExpiredError("the job's result is no longer kept")
        raise JobNotFoundError("no job has this id")

    def of_key(self, key: str, order: Order) -> Job | None:
        """The job that was submitted with this key.

        Raises:
            KeyReusedError: It was another order.
        """
        self.sweep()
        job = self._jobs.get(self._keys.get(key, ""))
        if job is not None and job.order != order:
            raise KeyReusedError("the idempotency key belongs to another request")
        return job

    def sweep(self) -> None:
        """Drops what was kept for long enough, and the oldest of too many."""
        now = time.monotonic()
        ended = [job for job in self._jobs.values() if job.ended is not None and job.log.readers == 0]
        surplus = len(ended) - self._keep_jobs
        ended.sort(key=lambda job: job.ended or 0.0)
        for index, job in enumerate(ended):
            if index < surplus or now - (job.ended or now) >= self._keep_seconds:
                self._drop(job)

    def _drop(self, job: Job) -> None:
        del self._jobs[job.id]
        self._keys = {key: id for key, id in self._keys.items() if id != job.id}
        self._expired[job.id] = None
        while len(self._expired) > _REMEMBERED:
            self._expired.popitem(last=False)

    def __len__(self) -> int:
        return len(self._jobs)

    def unfinished(self) -> list[Job]:
        """The jobs that have not ended."""
        return [job for job in self._jobs.values() if not job.over]
