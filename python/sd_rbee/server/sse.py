"""A job's events as server-sent events, in both dialects at once.

`progress` counts sampling steps; the other phases, which have none, are told by `phase` when they are through. Each
event carries the names of the seed endpoints (`total_steps`, `image`, `seed`) and those of `/v1/jobs` (`type`,
`total`, `images`, `seeds`). Streams of jobs end with a marker line besides.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, TypeVar, cast

import msgspec

from sd_rbee.engine import Job
from sd_rbee.engine.events import (
    Cancelled,
    Complete,
    Failed,
    JobEvent,
    Preview,
    Queued,
    Started,
    picture_bytes,
)
from sd_rbee.errors import Cancelled as CancelledError
from sd_rbee.events import Progress
from sd_rbee.server.answers import Finished
from sd_rbee.server.errors import to_wire

T = TypeVar("T")
_KEEP_ALIVE = b": keep-alive\n\n"
_PIECE_BYTES = 1 << 16
_LARGE_BYTES = 1 << 20


def describe(job: Job, event: JobEvent) -> tuple[str, dict[str, Any]]:
    """The event's name and its data."""
    match event:
        case Queued(position, eta):
            return "queued", {"type": "queued", "job_id": job.id, "position": position, "eta_seconds": rounded(eta)}
        case Started():
            return "started", {"type": "started", "job_id": job.id}
        case Progress(phase="denoise"):
            return "progress", {"type": "progress", **_progress(event)}
        case Progress():
            return "phase", {"type": "phase", **_progress(event)}
        case Preview(progress, png):
            data = {**_progress(progress), "image": _base64(png), "format": "png"}
            return "preview", {"type": "preview", **data}
        case Complete():
            return "complete", dict(complete(job, event))
        case Failed(error):
            wire = to_wire(error)
            data = {"code": wire.code, "message": wire.message, "retriable": wire.retriable}
            return "error", {"type": "error", **data, **({"field": wire.field} if wire.field else {})}
        case Cancelled():
            wire = to_wire(CancelledError("the job was cancelled"))
            data = {"code": wire.code, "message": wire.message, "retriable": wire.retriable}
            return "error", {"type": "cancelled", **data}


def complete(job: Job, event: Complete) -> Finished:
    """The finished pictures; `image` and `seed` are the first one's."""
    pictures = [_base64(png) for png in event.pngs]
    return {
        "type": "complete",
        "job_id": job.id,
        "image": pictures[0],
        "images": pictures,
        "seed": event.seeds[0],
        "seeds": event.seeds,
        "format": "png",
        "elapsed_ms": round(1000 * event.seconds),
        "warnings": event.warnings,
    }


def end_marker(event: JobEvent) -> str:
    """The last line of a job's stream."""
    match event:
        case Failed(error):
            return f"[ERROR] {' '.join(to_wire(error).message.split())}"
        case Cancelled():
            return "[CANCELLED]"
        case _:
            return "[DONE]"


async def aside(event: JobEvent, work: Callable[[], T]) -> T:
    """What `work` on this event gives; done on another thread where large pictures would hold up everybody."""
    return await asyncio.to_thread(work) if picture_bytes(event) > _LARGE_BYTES else work()


def _frame(job: Job, number: int, event: JobEvent) -> bytes:
    name, data = describe(job, event)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), msgspec.json.encode(data))


async def stream(job: Job, *, keep_alive: float, after: int = 0, marker: bool = False) -> AsyncGenerator[bytes, None]:
    """The job's events behind number `after`, as they come, until its end; comments keep the line alive between them.

    Args:
        job: The job.
        keep_alive: Seconds of silence before a comment.
        after: The client's `Last-Event-ID`.
        marker: Whether the stream ends with a marker line.
    """
    async with contextlib.aclosing(_events(job, after, keep_alive)) as events:
        async for entry in events:
            if entry is None:
                yield _KEEP_ALIVE
                continue
            data = await aside(entry[1], partial(_frame, job, *entry))
            # What a reader is slow to take waits here, where it is once, rather than in the connection's buffer.
            for start in range(0, len(data), _PIECE_BYTES):
                yield data[start : start + _PIECE_BYTES]
    if marker and job.log.end is not None:
        yield b"data: %s\n\n" % end_marker(job.log.end[1]).encode()
    job.collected = True


async def end_of(job: Job) -> Complete | Failed | Cancelled:
    """Waits for the job's end."""
    async with contextlib.aclosing(_events(job, 0, None)) as events:
        async for _ in events:
            pass
    job.collected = True
    assert job.log.end is not None
    return job.log.end[1]


async def _events(job: Job, after: int, patience: float | None) -> AsyncGenerator[tuple[int, JobEvent] | None, None]:
    """The events behind number `after` until the end; None after each `patience` seconds of silence."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()

    def wake() -> None:
        # A loop that was closed has nobody left who listens.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(arrived.set)

    unsubscribe = job.log.subscribe(wake)
    try:
        while True:
            arrived.clear()
            for entry in job.log.since(after):
                after = entry[0]
                yield entry
            if job.log.end is not None and not job.log.since(after):
                return
            try:
                await asyncio.wait_for(arrived.wait(), patience)
            except TimeoutError:
                yield None
    finally:
        unsubscribe()


def _progress(progress: Progress) -> dict[str, Any]:
    percent = 100.0 * progress.step / progress.total
    return {
        "phase": progress.phase,
        "image_index": progress.image,
        "step": progress.step,
        "total_steps": progress.total,
        "total": progress.total,
        "percent": round(percent, 1),
        "elapsed_ms": round(1000 * progress.elapsed),
        "eta_seconds": rounded(progress.eta),
    }


def rounded(seconds: float | None) -> float | None:
    """The seconds as they are written; None stays None."""
    return None if seconds is None else round(seconds, 2)


def _base64(data: bytes) -> str:
    # A JSON string already, as the encoder takes it: base64 has nothing to escape, and a picture is large enough to be
    # copied once less.
    return cast("str", msgspec.Raw(b'"%s"' % base64.b64encode(data)))
