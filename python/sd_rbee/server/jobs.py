"""Jobs that outlive the connection that made them."""

import asyncio
from functools import partial
from typing import Any

from litestar import Controller, Request, Response, delete, get, post, route

from sd_rbee.engine import Engine, Job, State
from sd_rbee.engine.events import Complete, Failed
from sd_rbee.server import sse
from sd_rbee.server.answers import JobCreated, JobDescription, JobStopped
from sd_rbee.server.bodies import read
from sd_rbee.server.errors import to_wire
from sd_rbee.server.headers import OF_SUBMISSIONS, STREAM, deadline, idempotency_key, last_event_id
from sd_rbee.server.schema import OF_JOBS, WHOLE_NUMBER, header, operation
from sd_rbee.server.streams import EventStream
from sd_rbee.server.worker import Worker

_CREATE = operation(body="job", answer="JobCreated", headers=OF_SUBMISSIONS, errors=OF_JOBS)
_STREAM = operation(
    gives=(STREAM,),
    headers=[header("Last-Event-ID", "The last event that the client has seen.", pattern=WHOLE_NUMBER)],
    errors=(404, 410, 422),
)
_SHOW = operation(answer="JobDescription", errors=(404, 410))
_STOP = operation(answer="JobStopped", errors=(404, 410))


class JobsController(Controller):
    """`/v1/jobs` and what hangs on it."""

    tags = ("jobs",)

    @post("/v1/jobs", status_code=200, operation_class=_CREATE)
    async def create(self, request: Request[Any, Any, Any], worker: Worker) -> JobCreated:
        """Puts a job into the queue, to be drawn whether or not anybody reads its stream."""
        order = await asyncio.to_thread(worker.orders.job, await read(request, "job"))
        job = worker.engine.submit(order, key=idempotency_key(request), deadline=deadline(request), detached=True)
        return {"job_id": job.id, "sse_url": f"/v1/jobs/{job.id}/stream"}

    @route("/v1/jobs/{job_id:str}", http_method="OPTIONS", status_code=204, include_in_schema=False)
    async def allow(self, job_id: str) -> Response[None]:
        """Litestar's own names one method alone of a route whose methods have a function each."""
        return Response(None, headers={"allow": "DELETE, GET, OPTIONS"})

    @get("/v1/jobs/{job_id:str}", operation_class=_SHOW)
    async def show(self, job_id: str, worker: Worker) -> JobDescription:
        """Where the job is, and what it made."""
        return await _describe(worker.engine.job(job_id), worker.engine)

    @get("/v1/jobs/{job_id:str}/stream", operation_class=_STREAM)
    async def stream(self, request: Request[Any, Any, Any], job_id: str, worker: Worker) -> Response[Any]:
        """The job's events from the first, or from behind the one that `Last-Event-ID` names."""
        after, patience = last_event_id(request), worker.settings.keep_alive_seconds
        return EventStream(sse.stream(worker.engine.job(job_id), keep_alive=patience, after=after, marker=True))

    @delete("/v1/jobs/{job_id:str}", status_code=200, operation_class=_STOP)
    async def cancel(self, job_id: str, worker: Worker) -> JobStopped:
        """Stops the job, within a step where it runs; nothing happens to one that has ended."""
        job = worker.engine.cancel(job_id)
        return {"job_id": job.id, "status": job.state if job.over else State.CANCELLED}


async def _describe(job: Job, engine: Engine) -> JobDescription:
    place = engine.place(job)
    described: JobDescription = {
        "job_id": job.id,
        "status": job.state,
        "created": job.created,
        "position": None if place is None else place.position,
        "eta_seconds": sse.rounded(engine.eta(job)),
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
