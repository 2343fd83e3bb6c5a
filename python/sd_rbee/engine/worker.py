"""The thread that owns the model, and the door to it."""

import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from sd_rbee import images
from sd_rbee.backend import native
from sd_rbee.engine.errors import NotReadyError, QueueFullError, ShuttingDownError
from sd_rbee.engine.events import Cancelled, Complete, Failed, Preview, Queued, Started
from sd_rbee.engine.job import Job, Order
from sd_rbee.engine.pace import Pace
from sd_rbee.engine.store import JobStore
from sd_rbee.errors import Cancelled as CancelledError
from sd_rbee.errors import InvalidParamsError
from sd_rbee.events import Progress
from sd_rbee.pipeline import Pipeline
from sd_rbee.spec import GenerationSpec

_log = logging.getLogger("sd_rbee.engine")
_SECONDS_UNTIL_MEASURED = 5.0


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
        on_loaded: Called on the engine's thread when `load` is through, with its error if it had one.
        on_ended: Called on the engine's thread with each job that ended.
    """

    def __init__(
        self,
        load: Callable[[], Pipeline],
        *,
        queue_size: int = 16,
        keep_seconds: float = 600.0,
        keep_jobs: int = 64,
        on_loaded: Callable[[BaseException | None], object] = lambda error: None,
        on_ended: Callable[[Job], object] = lambda job: None,
    ) -> None:
        self._load = load
        self._queue_size = queue_size
        self._on_loaded = on_loaded
        self._on_ended = on_ended
        self._condition = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._store = JobStore(keep_seconds, keep_jobs)
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

    def submit(self, order: Order, *, key: str | None = None) -> Job:
        """Puts an order into the queue.

        Args:
            order: What is wanted.
            key: An idempotency key: as long as its job is kept, the same order gives the same job.

        Raises:
            NotReadyError: The model is not there.
            ShuttingDownError: The engine is closed.
            QueueFullError: Too many wait.
            KeyReusedError: The key belongs to another order.
            InvalidParamsError: The model cannot do it.
        """
        with self._condition:
            if self._closed:
                raise ShuttingDownError("the worker is shutting down")
            if self._pipeline is None:
                raise NotReadyError("the model could not be loaded" if self._load_error else "the model is loading")
            if key is not None and (job := self._store.of_key(key, order)) is not None:
                return job
            self._pipeline.check(order.spec)
            if len(self._waiting) >= self._queue_size:
                raise QueueFullError(len(self._waiting), self._seconds_until_free())
            job = Job(order, _work(order.spec, self._pipeline))
            self._store.add(job, key)
            self._waiting.append(job)
            job.tell(self._place(job))
            self._condition.notify_all()
            return job

    def job(self, id: str) -> Job:
        """The job of this id.

        Raises:
            JobNotFoundError: There is none.
            JobExpiredError: There was one.
        """
        with self._condition:
            return self._store.get(id)

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
                job.tell(Cancelled())
                self._on_ended(job)
                self._move_up()
            elif not job.over:
                job.cancel.cancel()
        return job

    def close(self, timeout: float) -> bool:
        """Refuses new work, cancels what waits and runs, and waits for the thread.

        Returns:
            Whether the thread ended in time.
        """
        with self._condition:
            self._closed = True
            for job in self._store.unfinished():
                if job in self._waiting:
                    self._waiting.remove(job)
                    job.tell(Cancelled())
                    self._on_ended(job)
                else:
                    job.cancel.cancel()
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _seconds_until_free(self) -> float:
        running = self._running.eta() if self._running is not None else None
        if running is not None:
            return running
        return self._pace.seconds_per_job or _SECONDS_UNTIL_MEASURED

    def _place(self, job: Job) -> Queued:
        """The job's place in the queue, counted and timed."""
        before = [*([self._running] if self._running is not None else [])]
        for other in self._waiting:
            if other is job:
                break
            before.append(other)
        times = [other.eta() or self._pace.estimate(other.work) for other in before]
        known = [seconds for seconds in times if seconds is not None]
        return Queued(len(before), sum(known) if len(known) == len(times) else None)

    def _move_up(self) -> None:
        for job in self._waiting:
            place = self._place(job)
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
            self._run(job, pipeline)
            with self._condition:
                self._running = None
                self._store.sweep()
            self._on_ended(job)

    def _take(self) -> Job | None:
        with self._condition:
            while not self._waiting:
                if self._closed:
                    return None
                self._condition.wait()
            job = self._running = self._waiting.popleft()
            self._move_up()
            return job

    def _run(self, job: Job, pipeline: Pipeline) -> None:
        job.tell(Started())
        begun = time.monotonic()

        def on_step(step: native.Step) -> None:
            progress = Progress.of(step)
            job.tell(progress)
            if step.preview is not None:
                job.tell(Preview(progress, images.encode_preview(step.preview)))

        try:
            order = job.order
            result = pipeline.run(
                order.spec,
                on_step=on_step,
                cancel=job.cancel,
                preview_every=order.preview_every,
                decode_previews=order.decode_previews,
            )
            pngs = [images.encode(picture, "PNG") for picture in result.images]
        except CancelledError:
            job.tell(Cancelled())
        except BaseException as error:
            # Whatever it is, the next job deserves its turn.
            _log.error("%s failed: %s", job.id, type(error).__name__, exc_info=not isinstance(error, InvalidParamsError))
            job.tell(Failed(error))
        else:
            seconds = time.monotonic() - begun
            self._pace.measured(job.work, seconds)
            job.tell(Complete(pngs, result.seeds, seconds, result.notes))


def _work(spec: GenerationSpec, pipeline: Pipeline) -> float:
    """What a generation's time grows with: pixels, steps, images, guidance."""
    defaults = pipeline.defaults
    guidance = defaults["guidance_scale"] if spec.guidance_scale is None else spec.guidance_scale
    steps = spec.num_inference_steps or defaults["num_inference_steps"]
    pixels = (spec.height or defaults["height"]) * (spec.width or defaults["width"])
    return float(pixels * steps * spec.num_images_per_prompt * (2 if guidance > 1 else 1))
