"""Answers that take as long as a job does, and end when their reader leaves."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from litestar import Litestar, Request
from litestar.response import Stream
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Scope, Send

from sd_rbee.server.errors import ReaderLeftError

T = TypeVar("T")


class _ASGIEventStream(ASGIStreamingResponse):
    content: AsyncGenerator[bytes, None]
    on_close: Callable[[], object]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # A reader who leaves while a chunk is on its way leaves the generator suspended, and one who leaves before
            # the first chunk leaves it unstarted.
            await self.content.aclose()
            self.on_close()


class EventStream(Stream):
    """A response of server-sent events that nobody on the way keeps back.

    Args:
        content: The chunks; closed in any case.
        on_close: Called when nobody is sent anything any more, whatever the reason.
        headers: More headers.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        *,
        on_close: Callable[[], object] = lambda: None,
        headers: dict[str, str] | None = None,
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._content = content
        self._on_close = on_close

    def to_asgi_response(
        self,
        app: Litestar | None,
        request: Request[Any, Any, Any],
        **options: Any,  # noqa: ANN401
    ) -> ASGIStreamingResponse:
        """The response as ASGI sends it."""
        options["headers"] = {**(options.get("headers") or {}), **self.headers}
        options["media_type"] = self.media_type
        options.pop("type_encoders", None)
        response = _ASGIEventStream(iterator=self._content, content_length=0, **options)
        response.content = self._content
        response.on_close = self._on_close
        return response


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
        working.cancel()
        leaving.cancel()
        # A job is given up only when it has no readers, and a cancelled one stops reading a moment later.
        await asyncio.gather(working, leaving, return_exceptions=True)
