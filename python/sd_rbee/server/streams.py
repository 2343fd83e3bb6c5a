"""Answers that take as long as a job does, and end when their reader leaves."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from litestar import Request
from litestar.response import Stream
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

T = TypeVar("T")


class _ASGIEventStream(ASGIStreamingResponse):
    async def send_body(self, send: Send, receive: Receive) -> None:
        try:
            await super().send_body(send, receive)
        finally:
            # A reader who leaves while a chunk is on its way leaves the generator suspended.
            await self.iterator.aclose()  # type: ignore[union-attr]


class EventStream(Stream):
    """A response of server-sent events that nobody on the way keeps back; `content` is closed in any case."""

    def __init__(self, content: AsyncGenerator[bytes, None]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **options: Any) -> ASGIStreamingResponse:
        """The response as ASGI sends it."""
        options["headers"] = {**(options.get("headers") or {}), **self.headers}
        options["media_type"] = self.media_type
        options.pop("type_encoders", None)
        return _ASGIEventStream(iterator=self.iterator, content_length=0, **options)


class ReaderLeftError(Exception):
    """The client closed the connection before its answer."""


async def unless_reader_leaves(request: Request[Any, Any, Any], work: Awaitable[T]) -> T:
    """The result of `work`.

    Raises:
        ReaderLeftError: The client left first; `work` is cancelled.
    """

    async def departure() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(departure())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ReaderLeftError
    finally:
        for task in (working, leaving):
            task.cancel()
