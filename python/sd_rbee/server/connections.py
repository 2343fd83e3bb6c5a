"""Connections that are given up when the client at their other end does nothing."""

import asyncio
import math
import socket
from collections.abc import Callable
from typing import TypeVarTuple

from sd_rbee.server.protocol import HttpProtocol

Ts = TypeVarTuple("Ts")
_UNSENT_BYTES = 1 << 17


def patient_for(seconds: float) -> type[HttpProtocol]:
    """Connections, for uvicorn's `http`, that are aborted after this long without what their client owes.

    That is the head of a request, whole, once the connection is open or the head has begun; and taking anything at all
    of what it is sent. A body that does not come is the guard's to answer.

    Args:
        seconds: Patience with the client.
    """

    class Connection(_Connection):
        patience = seconds

    return Connection


def _set_where_known(line: socket.socket, option: str, value: int) -> None:
    if hasattr(socket, option):
        line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class _Timer:
    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, call: Callable[[*Ts], object], *arguments: *Ts) -> None:
        self._handle = asyncio.get_running_loop().call_later(seconds, call, *arguments)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None

    @property
    def running(self) -> bool:
        return self._handle is not None


class _Connection(HttpProtocol):
    patience: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head, self._taking = _Timer(), _Timer()
        # What waits for the client is to wait here, where it is watched: else the system takes megabytes of it, and
        # 64 KiB more may lie in the transport before anybody is told.
        transport.set_write_buffer_limits(0)
        line: socket.socket = transport.get_extra_info("socket")
        _set_where_known(line, "TCP_NOTSENT_LOWAT", _UNSENT_BYTES)
        # A machine that vanished says nothing, and takes nothing either.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
            _set_where_known(line, option, math.ceil(self.patience))
        _set_where_known(line, "TCP_USER_TIMEOUT", math.ceil(1000 * self.patience))
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_taking(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taking.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        self._taking.stop()
        super().connection_lost(exc)

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch_head(self) -> None:
        if not self._between_requests():
            self._head.stop()
        elif not self._head.running:
            self._head.start(self.patience, self._give_up_head)

    def _give_up_head(self) -> None:
        if self._between_requests():
            self.transport.abort()

    def _watch_taking(self, left: int) -> None:
        self._taking.start(self.patience, self._give_up_unless_less, left)

    def _give_up_unless_less(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left < before:
            self._watch_taking(left)
        else:
            self.transport.abort()
