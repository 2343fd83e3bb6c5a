"""Counters for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from sd_rbee.engine import Engine, Job, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ENDS = (State.COMPLETED, State.FAILED, State.CANCELLED)
_MILLISECONDS = (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 900_000)


class Metrics:
    """What this worker counts, in a registry of its own."""

    def __init__(self) -> None:
        # What they tell is in the scraper's own memory.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("worker_requests", "Jobs by how they ended.", ["outcome"], registry=self._registry)
        for state in ENDS:
            # A rate over a series that is not there yet misses its first job.
            self._requests.labels(outcome=state.value)
        self._duration = Histogram(
            "worker_inference_duration_ms",
            "Milliseconds from a job's start to its end.",
            buckets=_MILLISECONDS,
            registry=self._registry,
        )
        self._waited = Histogram(
            "worker_queue_duration_ms",
            "Milliseconds from a job's submission to its start.",
            buckets=_MILLISECONDS,
            registry=self._registry,
        )
        self._uptime = Gauge("worker_uptime_seconds", "Seconds since the start.", registry=self._registry)
        self._waiting = Gauge("worker_queue_length", "Jobs that wait.", registry=self._registry)
        self._ready = Gauge("worker_ready", "1 while jobs are taken.", registry=self._registry)
        self._model_bytes = Gauge(
            "worker_vram_bytes", "Bytes of the model in the device's memory.", registry=self._registry
        )

    def ended(self, job: Job) -> None:
        """Counts a job that ended; called on the engine's thread."""
        self._requests.labels(outcome=job.state.value).inc()
        if job.started is not None and job.ended is not None:
            self._duration.observe(1000 * (job.ended - job.started))
            self._waited.observe(1000 * (job.started - job.submitted))

    def render(self, engine: Engine, *, uptime: float, ready: bool) -> bytes:
        """All of it in Prometheus' text form."""
        self._uptime.set(uptime)
        self._waiting.set(engine.waiting)
        self._ready.set(ready)
        self._model_bytes.set(engine.vram_bytes)
        return generate_latest(self._registry)
