"""Jobs that outlive the connection that made them."""

import asyncio
from functools import partial
from typing import Any

from litestar import Controller, Request, Response, delete, get, post

from sd_rbee.engine import Engine, Job
from sd_rbee.engine.events import Complete, Failed
from sd_rbee.server import sse
from sd_rbee.server.bodies import read
from sd_rbee.server.errors import to_wire
from sd_rbee.server.headers import STREAM, deadline, idempotency_key, last_event_id
from sd_rbee.server.schema import OF_JOBS, operation
from sd_rbee.server.streams import EventStream
from sd_rbee.server.worker import Worker

_CREATE = operation(
    body="job",
    headers={
        "Idempotency-Key": "The same key and the same request give the same job.",
        "X-Deadline": "Milliseconds since the epoch after which nobody wants the result.",
    },
    errors=OF_JOBS,
)
_STREAM = operation(
    gives=(STREAM,), headers={"Last-Event-ID": "The last event that the client has seen."}, errors=(404, 410, 422)
)
_ONE = operation(errors=(404, 410))


class JobsController(Controller):
    """`/v1/jobs` and what hangs on it."""

    tags = ("jobs",)

    @post("/v1/jobs", status_code=200, operation_class=_CREATE)
    async def create(self, request: Request[Any, Any, Any], worker: Worker) -> dict[str, str]:
        """Puts a job into the queue, to be drawn whether or not anybody reads its stream."""
        order = await asyncio.to_thread(worker.orders.job, await read(request, "job"))
        job = worker.engine.submit(order, key=idempotency_key(request), deadline=deadline(request), detached=True)
        return {"job_id": job.id, "sse_url": f"/v1/jobs/{job.id}/stream"}

    @get("/v1/jobs/{job_id:str}", operation_class=_ONE)
    async def show(self, job_id: str, worker: Worker) -> dict[str, Any]:
        """Where the job is, and what it made."""
        return await _describe(worker.engine.job(job_id), worker.engine)

    @get("/v1/jobs/{job_id:str}/stream", operation_class=_STREAM)
    async def stream(self, request: Request[Any, Any, Any], job_id: str, worker: Worker) -> Response[Any]:
        """The job's events from the first, or from behind the one that `Last-Event-ID` names."""
        after, patience = last_event_id(request), worker.settings.keep_alive_seconds
        return EventStream(sse.stream(worker.engine.job(job_id), keep_alive=patience, after=after, marker=True))

    @delete("/v1/jobs/{job_id:str}", status_code=200, operation_class=_ONE)
    async def cancel(self, job_id: str, worker: Worker) -> dict[str, str]:
        """Stops the job, within a step where it runs; nothing happens to one that has ended."""
        job = worker.engine.cancel(job_id)
        return {"job_id": job.id, "status": job.state if job.over else "cancelled"}


async def _describe(job: Job, engine: Engine) -> dict[str, Any]:
    place = engine.place(job)
    described: dict[str, Any] = {
        "job_id": job.id,
        "status": job.state,
        "created": job.created,
        "position": None if place is None else place.position,
        "eta_seconds": sse.rounded(job.eta() if place is None else place.eta),
        "sse_url": f"/v1/jobs/{job.id}/stream",
    }
    if job.progress is not None:
        described["progress"] = sse.describe(job, job.progress)[1]
    end = None if job.log.end is None else job.log.end[1]
    if isinstance(end, Complete):
        described["result"] = await sse.aside(end, partial(sse.complete, job, end))
        job.collected = True
    elif isinstance(end, Failed):
        wire = to_wire(end.error)
        described["error"] = {"code": wire.code, "message": wire.message, "retriable": wire.retriable}
    return described
