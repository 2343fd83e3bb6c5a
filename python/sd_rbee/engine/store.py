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
        keep_jobs: How many ended jobs are kept at most.
        keep_bytes: How many bytes of pictures ended jobs may hold together.
    """

    def __init__(self, keep_seconds: float, keep_jobs: int, keep_bytes: int) -> None:
        self._keep_seconds = keep_seconds
        self._keep_jobs = keep_jobs
        self._keep_bytes = keep_bytes
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
        """The job that was submitted with this key; None where it came to nothing, so that a retry is a new job.

        Raises:
            KeyReusedError: It was another order.
        """
        self.sweep()
        job = self._jobs.get(self._keys.get(key, ""))
        if job is not None and job.order != order:
            raise KeyReusedError("the idempotency key belongs to another request")
        return job if job is not None and job.wanted else None

    def sweep(self) -> None:
        """Drops what was kept for long enough, and of too much the oldest, results that somebody has had first."""
        now = time.monotonic()
        ended = [job for job in self._jobs.values() if job.ended is not None and job.log.readers == 0]
        ended.sort(key=lambda job: (not job.collected, job.ended or 0.0))
        bytes = sum(job.log.bytes for job in ended)
        for index, job in enumerate(ended):
            others = len(ended) - index - 1
            surplus = others >= self._keep_jobs or (others > 0 and bytes > self._keep_bytes)
            if surplus or now - (job.ended or now) >= self._keep_seconds:
                bytes -= job.log.bytes
                self._drop(job)

    def _drop(self, job: Job) -> None:
        del self._jobs[job.id]
        self._keys = {key: id for key, id in self._keys.items() if id != job.id}
        self._expired[job.id] = None
        while len(self._expired) > _REMEMBERED:
            self._expired.popitem(last=False)

    def unfinished(self) -> list[Job]:
        """The jobs that have not ended."""
        return [job for job in self._jobs.values() if not job.over]
