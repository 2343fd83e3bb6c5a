"""The seed's endpoints: one request, one stream of events, or at will the finished result."""

from collections.abc import AsyncGenerator
from typing import Any

from litestar import Controller, Request, Response, post

from sd_rbee.engine import Engine, Job, Order
from sd_rbee.engine.events import Complete, Failed
from sd_rbee.errors import Cancelled
from sd_rbee.server import sse
from sd_rbee.server.bodies import operation, parse
from sd_rbee.server.errors import RequestError
from sd_rbee.server.streams import EventStream, unless_reader_leaves
from sd_rbee.server.worker import Worker

_STREAM, _JSON, _PNG = "text/event-stream", "application/json", "image/png"
_MAX_KEY_LENGTH = 256


class DrawingController(Controller):
    """`POST /execute`, `/img2img` and `/inpaint`."""

    tags = ["drawing"]

    @post("/execute", status_code=200, operation_class=operation("execute"))
    async def execute(self, request: Request[Any, Any, Any], worker: Worker) -> Response[Any]:
        """Draws a prompt. `Accept` chooses: a stream of events, JSON, or the first picture as PNG."""
        return await _answer(request, worker.engine, worker.orders.execute(parse(await request.body(), "execute")))

    @post("/img2img", status_code=200, operation_class=operation("img2img"))
    async def img2img(self, request: Request[Any, Any, Any], worker: Worker) -> Response[Any]:
        """Draws after a picture; 501 where the model cannot."""
        return await _answer(request, worker.engine, worker.orders.img2img(parse(await request.body(), "img2img")))

    @post("/inpaint", status_code=200, operation_class=operation("inpaint"))
    async def inpaint(self, request: Request[Any, Any, Any], worker: Worker) -> Response[Any]:
        """Draws a part of a picture anew; 501 where the model cannot."""
        return await _answer(request, worker.engine, worker.orders.inpaint(parse(await request.body(), "inpaint")))


def idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    """The request's `Idempotency-Key`, if it has one.

    Raises:
        RequestError: It is empty or too long.
    """
    key: str | None = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= _MAX_KEY_LENGTH:
        message = f"the key has {len(key)} characters, allowed are 1 to {_MAX_KEY_LENGTH}"
        raise RequestError(422, "INVALID_REQUEST", message, "Idempotency-Key")
    return key


async def _answer(request: Request[Any, Any, Any], engine: Engine, order: Order) -> Response[Any]:
    kind = _preferred(request.headers.get("accept", "*/*"))
    job = engine.submit(order, key=idempotency_key(request))
    if kind == _STREAM:
        return EventStream(_abandoned_with_its_reader(job, engine))
    try:
        ended = await unless_reader_leaves(request, sse.end_of(job))
    finally:
        _abandon(job, engine)
    if isinstance(ended, Failed):
        raise ended.error
    if not isinstance(ended, Complete):
        raise Cancelled("the job was cancelled")
    if kind == _PNG:
        headers = {"x-seed": str(ended.seeds[0]), "x-job-id": job.id}
        return Response(ended.pngs[0], media_type=_PNG, headers=headers)
    return Response(sse.complete(job, ended), media_type=_JSON)


async def _abandoned_with_its_reader(job: Job, engine: Engine) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in sse.stream(job):
            yield chunk
    finally:
        _abandon(job, engine)


def _abandon(job: Job, engine: Engine) -> None:
    """Stops a job that nobody waits for any more."""
    if not job.over and job.log.readers == 0:
        engine.cancel(job.id)


def _preferred(accept: str) -> str:
    """The first of our media types that the header names; a stream where it names none of them but any."""
    for part in accept.split(","):
        kind, _, parameters = part.partition(";")
        kind = kind.strip().lower()
        if parameters.strip().replace(" ", "") in ("q=0", "q=0.0"):
            continue
        if kind in (_STREAM, _JSON, _PNG):
            return kind
        if kind in ("*/*", "text/*"):
            return _STREAM
        if kind == "image/*":
            return _PNG
    raise RequestError(406, "NOT_ACCEPTABLE", f"this route answers with {_STREAM}, {_JSON} or {_PNG}", "Accept")
