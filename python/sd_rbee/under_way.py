"""Generations under way, which are stopped before the interpreter goes.

A thread of the engine that meets a finalized interpreter crashes the process, and daemon threads, those of streams
among them, are not waited for. One that dies of what stopped it says so on stderr, whose lock it must not hold when the
interpreter flushes it.
"""

import atexit
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sd_rbee.backend import native

# Seconds that generations have to stop in, and then threads to end in, which may have more to do than to draw.
_PATIENCE = 10.0
_PATIENCE_WITH_THREADS = 0.5
_POLL = 0.005


class _Generation(NamedTuple):
    cancel: native.CancelToken
    thread: threading.Thread


_under_way: dict[threading.Event, _Generation] = {}
_exiting = threading.Event()


@contextmanager
def until_exit(cancel: native.CancelToken) -> Iterator[None]:
    """Cancels what runs in this context when the interpreter ends, which waits for it then."""
    over = threading.Event()
    _under_way[over] = _Generation(cancel, threading.current_thread())
    try:
        # Looked at after the entry was made, so that one of both sides sees the other.
        if _exiting.is_set():
            cancel.cancel()
        yield
    finally:
        del _under_way[over]
        over.set()


@atexit.register
def _stop_all() -> None:
    _exiting.set()
    deadline = time.monotonic() + _PATIENCE
    running = list(_under_way.items())
    for _, generation in running:
        generation.cancel.cancel()
    for over, _ in running:
        over.wait(max(0.0, deadline - time.monotonic()))
    deadline = time.monotonic() + _PATIENCE_WITH_THREADS
    while any(generation.thread.is_alive() for _, generation in running) and time.monotonic() < deadline:
        time.sleep(_POLL)
