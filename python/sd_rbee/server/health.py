"""Whether the worker lives and what it is at; always answered at once, from what is known already."""

import datetime

from litestar import Controller, Response, get

from sd_rbee.engine import EngineState
from sd_rbee.server.answers import Health, Info, QueenReadiness, Readiness
from sd_rbee.server.metrics import CONTENT_TYPE
from sd_rbee.server.schema import operation
from sd_rbee.server.worker import Worker

_REASONS = {
    EngineState.LOADING: "model loading",
    EngineState.FAILED: "the model could not be loaded",
    EngineState.CLOSED: "shutting down",
}


class HealthController(Controller):
    """`/health`, `/ready` and their twins, `/info` and `/metrics`."""

    tags = ("health",)

    @get(["/health", "/v1/health"], operation_class=operation(answer="Health", public=True))
    async def health(self, worker: Worker) -> Health:
        """The process lives."""
        failed = worker.engine.state is EngineState.FAILED
        return {
            "status": "unhealthy" if failed else "healthy",
            "worker_id": worker.settings.worker_id,
            "model_version": worker.settings.model_version,
            "device": worker.device,
            "uptime_seconds": worker.uptime_seconds,
            "state": worker.engine.state,
            "vram_bytes": worker.engine.vram_bytes,
            "timestamp": now(),
        }

    @get("/ready", operation_class=operation(answer="Readiness", others={503: "Readiness"}, public=True))
    async def ready(self, worker: Worker) -> Response[Readiness]:
        """200 once jobs are taken, 503 before."""
        state = worker.engine.state
        body: Readiness = {"ready": worker.ready, "status": state, "timestamp": now()}
        if not worker.ready:
            body["reason"] = _REASONS[state]
        return Response(body, status_code=200 if worker.ready else 503)

    @get("/v1/ready", operation_class=operation(answer="QueenReadiness", public=True))
    async def v1_ready(self, worker: Worker) -> QueenReadiness:
        """As `/ready`, but always 200: what the queen polls."""
        return {"ready": worker.ready, "state": worker.engine.state, "model_loaded": worker.engine.pipeline is not None}

    @get("/info", operation_class=operation(answer="Info"))
    async def info(self, worker: Worker) -> Info:
        """The model, its defaults, the limits, the queue."""
        return worker.info()

    @get("/metrics", operation_class=operation(gives=("text/plain",)))
    async def metrics(self, worker: Worker) -> Response[bytes]:
        """Counters in Prometheus' text form."""
        text = worker.metrics.render(worker.engine, uptime=worker.uptime_seconds, ready=worker.ready)
        return Response(text, media_type=CONTENT_TYPE)


def now() -> str:
    """The time as RFC 3339 writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
