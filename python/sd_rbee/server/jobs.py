"""Jobs that outlive the connection that made them."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, post

from sd_rbee.engine import Job
from sd_rbee.engine.events import Complete, Failed
from sd_rbee.server import sse
from sd_rbee.server.bodies import operation, parse
from sd_rbee.server.drawing import idempotency_key
from sd_rbee.server.errors import RequestError, to_wire
from sd_rbee.server.streams import EventStream
from sd_rbee.server.worker import Worker


class JobsController(Controller):
    """`/v1/jobs` and what hangs on it."""

    tags = ["jobs"]

    @post("/v1/jobs", status_code=200, operation_class=operation("job"))
    async def create(self, request: Request[Any, Any, Any], worker: Worker) -> dict[str, str]:
        """Puts a job into the queue. With an `Idempotency-Key`, the same request gives the same job."""
        order = worker.orders.job(parse(await request.body(), "job"))
        job = worker.engine.submit(order, key=idempotency_key(request))
        return {"job_id": job.id, "sse_url": f"/v1/jobs/{job.id}/stream"}

    @get("/v1/jobs/{job_id:str}")
    async def read(self, job_id: str, worker: Worker) -> dict[str, Any]:
        """Where the job is, and what it made."""
        return _describe(worker.engine.job(job_id))

    @get("/v1/jobs/{job_id:str}/stream")
    async def stream(self, request: Request[Any, Any, Any], job_id: str, worker: Worker) -> Response[Any]:
        """The job's events from the first, or from behind the one that `Last-Event-ID` names."""
        after = request.headers.get("last-event-id", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            raise RequestError(422, "INVALID_REQUEST", "Last-Event-ID is a whole number", "Last-Event-ID")
        return EventStream(sse.stream(worker.engine.job(job_id), after=int(after), marker=True))

    @delete("/v1/jobs/{job_id:str}", status_code=200)
    async def cancel(self, job_id: str, worker: Worker) -> dict[str, str]:
        """Stops the job, within a step where it runs; nothing happens to one that has ended."""
        job = worker.engine.cancel(job_id)
        return {"job_id": job.id, "status": job.state if job.over else "cancelled"}


def _describe(job: Job) -> dict[str, Any]:
    described: dict[str, Any] = {
        "job_id": job.id,
        "status": job.state,
        "created": job.created,
        "position": job.queued.position if job.queued is not None and job.started is None and not job.over else None,
        "eta_seconds": job.eta() if job.started is not None or job.queued is None else job.queued.eta,
        "sse_url": f"/v1/jobs/{job.id}/stream",
    }
    if job.progress is not None:
        described["progress"] = sse.describe(job, job.progress)[1]
    last = job.log.last()
    if isinstance(last, Complete):
        described["result"] = sse.complete(job, last)
    elif isinstance(last, Failed):
        wire = to_wire(last.error)
        described["error"] = {"code": wire.code, "message": wire.message, "retriable": wire.retriable}
    return described
