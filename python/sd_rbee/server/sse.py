"""A job's events as server-sent events, in both dialects at once.

`progress` counts sampling steps; the other phases, which have none, are told by `phase` when they are through. Each
event carries the names of the seed endpoints (`total_steps`, `image`, `seed`) and those of `/v1/jobs` (`type`,
`total`, `images`, `seeds`). Streams of jobs end with a marker line besides.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from sd_rbee.engine import Job
from sd_rbee.engine.events import (
    END,
    Cancelled,
    Complete,
    Failed,
    JobEvent,
    Preview,
    Progress,
    Queued,
    Started,
)
from sd_rbee.errors import Cancelled as CancelledError
from sd_rbee.server.errors import to_wire

KEEP_ALIVE_SECONDS = 15.0
_KEEP_ALIVE = b": keep-alive\n\n"


def describe(job: Job, event: JobEvent) -> tuple[str, dict[str, Any]]:
    """The event's name and its data."""
    match event:
        case Queued(position, eta):
            return "queued", {"type": "queued", "job_id": job.id, "position": position, "eta_seconds": _round(eta)}
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
            return "complete", complete(job, event)
        case Failed(error):
            wire = to_wire(error)
            data = {"code": wire.code, "message": wire.message, "retriable": wire.retriable}
            return "error", {"type": "error", **data, **({"field": wire.field} if wire.field else {})}
        case Cancelled():
            wire = to_wire(CancelledError("the job was cancelled"))
            data = {"code": wire.code, "message": wire.message, "retriable": wire.retriable}
            return "error", {"type": "cancelled", **data}


def complete(job: Job, event: Complete) -> dict[str, Any]:
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


def frame(id: int, name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (id, name.encode(), msgspec.json.encode(data))


async def stream(job: Job, *, after: int = 0, marker: bool = False) -> AsyncGenerator[bytes, None]:
    """The job's events behind number `after`, as they come, until its end; comments keep the line alive between them.

    Args:
        job: The job.
        after: The client's `Last-Event-ID`.
        marker: Whether the stream ends with a marker line.
    """
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()

    def wake() -> None:
        # A loop that was closed has nobody left who listens.
        if not loop.is_closed():
            loop.call_soon_threadsafe(arrived.set)

    unsubscribe = job.log.subscribe(wake)
    try:
        while True:
            arrived.clear()
            for id, event in job.log.since(after):
                after = id
                yield frame(id, *describe(job, event))
                if isinstance(event, END):
                    if marker:
                        yield b"data: %s\n\n" % end_marker(event).encode()
                    return
            if job.over and not job.log.since(after):
                return
            try:
                await asyncio.wait_for(arrived.wait(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield _KEEP_ALIVE
    finally:
        unsubscribe()


async def end_of(job: Job) -> Complete | Failed | Cancelled:
    """Waits for the job's end."""
    async for _ in stream(job):
        pass
    event = job.log.last()
    assert isinstance(event, END)
    return event


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
        "eta_seconds": _round(progress.eta),
    }


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
