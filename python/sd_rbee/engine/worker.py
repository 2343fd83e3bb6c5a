"""The thread that owns the model, and the door to it."""

import enum
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

from sd_rbee.engine.draw import amount_of_work, draw
from sd_rbee.engine.errors import DeadlineError, NotReadyError, QueueFullError, ShuttingDownError
from sd_rbee.engine.events import Cancelled, Complete, JobEvent, Queued, Started
from sd_rbee.engine.job import Job, Order
from sd_rbee.engine.pace import Pace
from sd_rbee.engine.store import JobStore
from sd_rbee.pipeline import Pipeline

_log = logging.getLogger("sd_rbee.engine")
_SECONDS_UNTIL_MEASURED = 5.0
_SECONDS_BETWEEN_SWEEPS = 30.0


class EngineState(enum.StrEnum):
    """What the engine is at."""

    LOADING = "loading"
    IDLE = "idle"
    BUSY = "busy"
    FAILED = "error"
    CLOSED = "stopping"


class Engine:
    """One model, one thread that owns it, and a bounded first-in-first-out queue before it.

    Args:
        load: Gives the model; called once, on the engine's thread.
        queue_size: Jobs that may wait.
        keep_seconds: How long an ended job is kept.
        keep_jobs: How many ended jobs are kept.
        keep_bytes: How many bytes of pictures ended jobs may hold together.
        on_loaded: Called on the engine's thread when `load` is through, with its error if it had one.
        on_ended: Called with each job that ended, on the thread that ended it.
    """

    def __init__(
        self,
        load: Callable[[], Pipeline],
        *,
        queue_size: int = 16,
        keep_seconds: float = 600.0,
        keep_jobs: int = 64,
        keep_bytes: int = 256 << 20,
        on_loaded: Callable[[BaseException | None], object] = lambda error: None,
        on_ended: Callable[[Job], object] = lambda job: None,
    ) -> None:
        self._load = load
        self._queue_size = queue_size
        self._on_loaded = on_loaded
        self._on_ended = on_ended
        self._condition = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._store = JobStore(keep_seconds, keep_jobs, keep_bytes)
        self._pace = Pace()
        self._running: Job | None = None
        self._pipeline: Pipeline | None = None
        self._load_error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="sd-rbee-engine", daemon=True)

    def start(self) -> None:
        """Begins to load the model."""
        self._thread.start()

    @property
    def state(self) -> EngineState:
        """What the engine is at."""
        with self._condition:
            if self._closed:
                return EngineState.CLOSED
            if self._load_error is not None:
                return EngineState.FAILED
            if self._pipeline is None:
                return EngineState.LOADING
            return EngineState.IDLE if self._running is None else EngineState.BUSY

    @property
    def pipeline(self) -> Pipeline | None:
        """The model, once it is loaded; its properties may be read by any thread."""
        return self._pipeline

    @property
    def model_bytes(self) -> int:
        """Bytes of the model's weights, wherever they are; 0 until it is loaded."""
        return 0 if self._pipeline is None else sum(part.bytes for part in self._pipeline.residency)

    @property
    def vram_bytes(self) -> int:
        """Those of them in a GPU's own memory."""
        on_gpu = self._pipeline is not None and self._pipeline.device.startswith("cuda")
        return self.model_bytes if on_gpu else 0

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        with self._condition:
            return len(self._waiting)

    def submit(
        self, order: Order, *, key: str | None = None, deadline: float | None = None, detached: bool = False
    ) -> Job:
        """Puts an order into the queue.

        Args:
            order: What is wanted.
            key: An idempotency key: as long as its job is kept and came to something, the same order gives that job.
            deadline: Wall-clock time, in seconds since the epoch, after which nobody wants it.
            detached: Whether it is drawn even if nobody reads its events; who comes later by the key may say so too.

        Raises:
            NotReadyError: The model is not there.
            ShuttingDownError: The engine is closed.
            QueueFullError: Too many wait.
            KeyReusedError: The key belongs to another order.
            DeadlineError: The deadline has passed already.
            InvalidParamsError: The model cannot do it.
        """
        with self._condition:
            if self._closed:
                raise ShuttingDownError("the worker is shutting down")
            if self._pipeline is None:
                raise NotReadyError("the model could not be loaded" if self._load_error else "the model is loading")
            if key is not None and (job := self._store.of_key(key, order)) is not None:
                job.detached = job.detached or detached
                return job
            self._pipeline.check(order.spec)
            job = Job(order, amount_of_work(order.spec, self._pipeline), deadline=deadline, detached=detached)
            if job.late:
                raise DeadlineError("the deadline has passed")
            if len(self._waiting) >= self._queue_size:
                raise QueueFullError(len(self._waiting), self._seconds_until_free())
            self._store.add(job, key)
            self._waiting.append(job)
            job.tell(self._place(job))
            self._condition.notify_all()
        _tell_log(job, "queued")
        return job

    def job(self, id: str) -> Job:
        """The job of this id.

        Raises:
            JobNotFoundError: There is none.
            JobExpiredError: There was one.
        """
        with self._condition:
            return self._store.get(id)

    def place(self, job: Job) -> Queued | None:
        """The job's place in the queue as it is now; None where it does not wait."""
        with self._condition:
            return self._place(job) if job in self._waiting else None

    def eta(self, job: Job) -> float | None:
        """Estimated seconds to the job's end, those before it counted; None until something was measured."""
        with self._condition:
            left = self._seconds_left(job)
            wait = self._place(job).eta if job in self._waiting else 0.0
        return None if left is None or wait is None else wait + left

    def cancel(self, id: str) -> Job:
        """Stops a job, at once where it waits and within a step where it runs; nothing happens to one that ended.

        Raises:
            JobNotFoundError: There is none.
            JobExpiredError: There was one.
        """
        with self._condition:
            job = self._store.get(id)
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, Cancelled())
                self._move_up()
            elif not job.over:
                job.cancel.cancel()
        return job

    def close(self, timeout: float) -> bool:
        """Refuses new work, cancels what waits and runs, and waits for the thread.

        Returns:
            Whether the thread ended in time; if it did not, its job is told to be cancelled all the same.
        """
        with self._condition:
            self._closed = True
            while self._waiting:
                self._end(self._waiting.popleft(), Cancelled())
            if self._running is not None:
                self._running.cancel.cancel()
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._condition:
            if self._thread.is_alive() and self._running is not None:
                self._end(self._running, Cancelled())
        return not self._thread.is_alive()

    def _end(self, job: Job, event: JobEvent) -> None:
        job.tell(event)
        self._on_ended(job)
        _tell_log(job, job.state.value)

    def _seconds_until_free(self) -> float:
        running = self._running.eta() if self._running is not None else None
        if running is not None:
            return running
        return self._pace.seconds_per_job or _SECONDS_UNTIL_MEASURED

    def _place(self, job: Job) -> Queued:
        return next(place for other, place in self._places() if other is job)

    def _places(self) -> Iterator[tuple[Job, Queued]]:
        """Each waiting job's place in the queue, counted and timed."""
        eta = 0.0 if self._running is None else self._seconds_left(self._running)
        for position, job in enumerate(self._waiting, self._running is not None):
            yield job, Queued(position, eta)
            left = self._seconds_left(job)
            eta = None if eta is None or left is None else eta + left

    def _seconds_left(self, job: Job) -> float | None:
        eta = job.eta()
        return self._pace.estimate(job.work) if eta is None else eta

    def _move_up(self) -> None:
        for job, place in self._places():
            if job.queued is None or place.position != job.queued.position:
                job.tell(place)

    def _work(self) -> None:
        try:
            pipeline = self._load()
        except BaseException as error:
            with self._condition:
                self._load_error = error
            self._on_loaded(error)
            return
        with self._condition:
            self._pipeline = pipeline
        self._on_loaded(None)
        while (job := self._take()) is not None:
            job.tell(Started())
            _tell_log(job, "started")
            end = draw(job, pipeline)
            with self._condition:
                self._running = None
                if isinstance(end, Complete):
                    self._pace.measured(job.work, end.seconds)
                if not job.over:
                    self._end(job, end)
                self._store.sweep()

    def _take(self) -> Job | None:
        with self._condition:
            while not self._waiting:
                if self._closed:
                    return None
                self._condition.wait(_SECONDS_BETWEEN_SWEEPS)
                self._store.sweep()
            job = self._running = self._waiting.popleft()
            self._move_up()
            return job


def _tell_log(job: Job, event: str) -> None:
    # Of what was asked for only how much it is: prompts are the client's own.
    seconds = "" if job.ended is None or job.started is None else f" after {job.ended - job.started:.2f} s"
    _log.info("%s %s%s", job.id, event, seconds, extra={"job_id": job.id, "event": event})
