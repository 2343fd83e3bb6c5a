"""A generation as an iterator of events: the engine works on a thread of its own while the caller iterates."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator

from sd_rbee.backend import native
from sd_rbee.events import Complete, Event, Progress, Started
from sd_rbee.result import GenerationResult

Run = Callable[[Callable[[native.Step], object], native.CancelToken], GenerationResult]
"""A generation to be run with an observer and a cancel token."""


def _start(run: Run, cancel: native.CancelToken, put: Callable[[Event | BaseException], object]) -> threading.Thread:
    def work() -> None:
        try:
            last: Event | BaseException = Complete(run(lambda step: put(Progress.of(step)), cancel))
        except BaseException as error:
            last = error
        put(last)

    thread = threading.Thread(target=work, name="sd-rbee-generation", daemon=True)
    thread.start()
    return thread


def stream(run: Run, cancel: native.CancelToken, num_images: int) -> Generator[Event, None, None]:
    """Yields the events; an error of the generation is raised, closing the iterator cancels it within a step."""
    events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
    thread = _start(run, cancel, events.put)
    over = False
    try:
        yield Started(num_images)
        while not over:
            event = events.get()
            over = isinstance(event, Complete | BaseException)
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        # Only a running generation: the token may be the caller's, who may want to use it again.
        if not over:
            cancel.cancel()
        thread.join()


async def astream(run: Run, cancel: native.CancelToken, num_images: int) -> AsyncGenerator[Event, None]:
    """`stream` for an event loop, which it never blocks."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Event | BaseException] = asyncio.Queue()

    def put(event: Event | BaseException) -> None:
        # A loop that was closed meanwhile has nobody left who listens.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(events.put_nowait, event)

    thread = _start(run, cancel, put)
    over = False
    try:
        yield Started(num_images)
        while not over:
            event = await events.get()
            over = isinstance(event, Complete | BaseException)
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        if not over:
            cancel.cancel()
        await asyncio.to_thread(thread.join)
