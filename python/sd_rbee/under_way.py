"""Generations under way, which are stopped before the interpreter goes.

A thread of the engine that meets a finalized interpreter crashes the process, and daemon threads, those of streams
among them, are not waited for.
"""

import atexit
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sd_rbee.backend import native

_PATIENCE = 10.0
_tokens: dict[threading.Event, native.CancelToken] = {}
_exiting = threading.Event()


@contextmanager
def until_exit(cancel: native.CancelToken) -> Iterator[None]:
    """Cancels what runs in this context when the interpreter ends, which waits for it then."""
    over = threading.Event()
    _tokens[over] = cancel
    try:
        # Looked at after the entry was made, so that one of both sides sees the other.
        if _exiting.is_set():
            cancel.cancel()
        yield
    finally:
        del _tokens[over]
        over.set()


@atexit.register
def _stop_all() -> None:
    _exiting.set()
    deadline = time.monotonic() + _PATIENCE
    running = list(_tokens.items())
    for _, cancel in running:
        cancel.cancel()
    for over, _ in running:
        over.wait(max(0.0, deadline - time.monotonic()))
