"""The seed's endpoints: one request, one stream of events, or at will the finished result."""

import asyncio
from functools import partial
from typing import Any

from litestar import Controller, Request, Response, post

from sd_rbee.engine import Engine, Job, Order
from sd_rbee.engine.events import Complete, Failed
from sd_rbee.errors import Cancelled
from sd_rbee.server import sse
from sd_rbee.server.bodies import read
from sd_rbee.server.headers import JSON, OF_SUBMISSIONS, PNG, STREAM, deadline, idempotency_key, preferred_type
from sd_rbee.server.schema import OF_JOBS, operation
from sd_rbee.server.streams import EventStream, unless_reader_leaves
from sd_rbee.server.worker import Worker

_GIVES, _ERRORS = (STREAM, JSON, PNG), (406, *OF_JOBS)


class DrawingController(Controller):
    """`POST /execute`, `/img2img` and `/inpaint`."""

    tags = ("drawing",)

    @post(
        "/execute",
        status_code=200,
        operation_class=operation(
            body="execute", answer="Finished", gives=_GIVES, headers=OF_SUBMISSIONS, errors=_ERRORS
        ),
    )
    async def execute(self, request: Request[Any, Any, Any], worker: Worker) -> Response[Any]:
        """Draws a prompt. `Accept` chooses: a stream of events, JSON, or the first picture as PNG."""
        body = await read(request, "execute")
        return await _answer(request, worker, worker.orders.execute(body))

    @post(
        "/img2img",
        status_code=200,
        operation_class=operation(
            body="img2img", answer="Finished", gives=_GIVES, headers=OF_SUBMISSIONS, errors=_ERRORS
        ),
    )
    async def img2img(self, request: Request[Any, Any, Any], worker: Worker) -> Response[Any]:
        """Draws over a picture; 501 where the model cannot."""
        body = await read(request, "img2img")
        return await _answer(request, worker, await asyncio.to_thread(worker.orders.img2img, body))

    @post(
        "/inpaint",
        status_code=200,
        operation_class=operation(
            body="inpaint", answer="Finished", gives=_GIVES, headers=OF_SUBMISSIONS, errors=_ERRORS
        ),
    )
    async def inpaint(self, request: Request[Any, Any, Any], worker: Worker) -> Response[Any]:
        """Draws a part of a picture anew, or beyond its sides; 501 where the model cannot."""
        body = await read(request, "inpaint")
        return await _answer(request, worker, await asyncio.to_thread(worker.orders.inpaint, body))


async def _answer(request: Request[Any, Any, Any], worker: Worker, order: Order) -> Response[Any]:
    kind, engine = preferred_type(request), worker.engine
    job = engine.submit(order, key=idempotency_key(request), deadline=deadline(request))
    headers = {"x-job-id": job.id}
    if kind == STREAM:
        chunks = sse.stream(job, keep_alive=worker.settings.keep_alive_seconds)
        return EventStream(chunks, on_close=lambda: _abandon(job, engine), headers=headers)
    try:
        ended = await unless_reader_leaves(request, sse.end_of(job))
    finally:
        _abandon(job, engine)
    if isinstance(ended, Failed):
        raise ended.error
    if not isinstance(ended, Complete):
        raise Cancelled("the job was cancelled")
    if kind == PNG:
        return Response(ended.pngs[0], media_type=PNG, headers={**headers, "x-seed": str(ended.seeds[0])})
    result = await sse.aside(ended, partial(sse.complete, job, ended))
    return Response(result, media_type=JSON, headers=headers)


def _abandon(job: Job, engine: Engine) -> None:
    """Stops a job that nobody waits for any more."""
    if not job.over and not job.detached and job.log.readers == 0:
        engine.cancel(job.id)
