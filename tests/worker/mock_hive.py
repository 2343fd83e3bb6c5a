"""A hive and a queen that take calls on a free port, strictly, and fail in the ways that real ones do."""

import contextlib
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

READY, HEARTBEAT, QUEEN = "/v1/workers/ready", "/v1/heartbeat", "/v1/worker-heartbeat"
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_BACKEND = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MODEL_REF = re.compile(r"[A-Za-z0-9_./:-]{1,512}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_QUEEN_STATUSES = {"starting", "ready", "busy", "stopping", "stopped"}
_PATIENCE = 60.0


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        at: Monotonic time of its arrival.
        method: Of HTTP.
        path: With the query.
        headers: By lower-case name.
        body: What its JSON says; None where it has none.
        status: What it was answered; None where the line was dropped.
    """

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    status: int | None


@dataclass
class Knobs:
    """How the hive fails.

    Attributes:
        statuses: Answers to the first ready calls, whatever they say.
        heartbeat_statuses: Answers to the first heartbeats.
        token: Asked for as bearer token; None asks for none.
        delay: Seconds before the first `delayed` answers.
        delayed: How many answers come late.
        drop: How many of the first connections are closed without an answer.
        redirect_to: Where the first ready call is sent on to.
    """

    statuses: list[int] = field(default_factory=list)
    heartbeat_statuses: list[int] = field(default_factory=list)
    token: str | None = None
    delay: float = 0.0
    delayed: int = 1
    drop: int = 0
    redirect_to: str | None = None


class MockHive:
    """Serves from its making to `close`.

    Attributes:
        calls: What came, in order.
        probes: What `GET {url}/health` gave inside each ready call that was taken.
        workers: Ids that are known.
    """

    def __init__(self, knobs: Knobs | None = None, port: int = 0) -> None:
        self.knobs = knobs or Knobs()
        self.calls: list[Call] = []
        self.probes: list[dict[str, Any]] = []
        self.workers: set[str] = set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"hive": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, path: str) -> list[Call]:
        """The calls to a path."""
        with self._lock:
            return [call for call in self.calls if call.path == path]

    def wait(self, path: str, count: int = 1) -> list[Call]:
        """The calls to a path, once there are that many."""
        return _until(lambda: calls if len(calls := self.of(path)) >= count else None, self)

    def record(self, call: Call) -> None:
        with self._lock:
            self.calls.append(call)

    def answer(self, path: str, headers: dict[str, str], body: Any) -> tuple[int, str]:  # noqa: ANN401 - any JSON
        """Status and text of the answer."""
        if self.knobs.token is not None and headers.get("authorization") != f"Bearer {self.knobs.token}":
            return 401, '{"error":{"code":"MISSING_API_KEY","message":"no token"}}'
        if path == READY:
            return self._ready(body)
        if path == HEARTBEAT:
            return self._heartbeat(body)
        if path == QUEEN:
            return (200, '{"status":"ok","message":"heard"}') if _is_queens(body) else (422, "not a heartbeat")
        return 200, '{"message":"recorded"}'

    def _ready(self, body: Any) -> tuple[int, str]:  # noqa: ANN401
        if self.knobs.statuses:
            return self.knobs.statuses.pop(0), "as told"
        strings = ("worker_id", "url", "model_ref", "backend")
        if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in strings):
            return 422, "a field is missing or mistyped"
        if type(body.get("device")) is not int or not 0 <= body["device"] < 2**32:
            return 422, "device is not a u32"
        well_formed = (
            _ID.fullmatch(body["worker_id"])
            and _BACKEND.fullmatch(body["backend"])
            and _MODEL_REF.fullmatch(body["model_ref"])
            and "../" not in body["model_ref"]
        )
        if not well_formed:
            return 400, "bad characters"
        # The worker must answer before it calls.
        self.probes.append(httpx.get(f"{body['url']}/health", timeout=5, trust_env=False).raise_for_status().json())
        self.workers.add(body["worker_id"])
        return 200, '{"message":"Worker registered"}'

    def _heartbeat(self, body: Any) -> tuple[int, str]:  # noqa: ANN401
        if self.knobs.heartbeat_statuses:
            return self.knobs.heartbeat_statuses.pop(0), "as told"
        good = (
            isinstance(body, dict)
            and set(body) == {"worker_id", "timestamp", "health_status"}
            and body["health_status"] in ("healthy", "degraded")
            and _TIME.fullmatch(body["timestamp"])
        )
        if not good:
            return 422, "not a heartbeat"
        return (200, '{"message":"ok"}') if body["worker_id"] in self.workers else (404, "Worker not found")


def _is_queens(body: Any) -> bool:  # noqa: ANN401
    worker = body.get("worker", {}) if isinstance(body, dict) else {}
    strings = ("id", "model_id", "device", "status", "implementation", "version")
    return (
        all(isinstance(worker.get(name), str) for name in strings)
        and type(worker.get("port")) is int
        and 0 < worker["port"] < 2**16
        and worker["status"] in _QUEEN_STATUSES
        and _TIME.fullmatch(body.get("timestamp", "")) is not None
    )


class _Handler(BaseHTTPRequestHandler):
    hive: MockHive
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The hive's own health, for whoever waits for it."""
        answers = {"/health": "ok", "/v1/health": '{"status":"alive","version":"0.1.0","api_version":"v1"}'}
        self._take(lambda _: (200, answers[self.path]) if self.path in answers else (404, "no such route"))

    def do_POST(self) -> None:
        """Everything that workers send."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._take(lambda body: self.hive.answer(self.path, headers, body))

    def _take(self, answer: Callable[[Any], tuple[int, str]]) -> None:
        at = time.monotonic()
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            body = json.loads(data) if data else None
        except ValueError:
            body = data
        knobs, headers = self.hive.knobs, {name.lower(): value for name, value in self.headers.items()}
        if knobs.drop > 0:
            knobs.drop -= 1
            self.hive.record(Call(at, self.command, self.path, headers, body, None))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if knobs.delay and knobs.delayed > 0:
            knobs.delayed -= 1
            time.sleep(knobs.delay)
        status, text = answer(body)
        moved, knobs.redirect_to = knobs.redirect_to, None
        if moved is not None:
            status = 307
        self.hive.record(Call(at, self.command, self.path, headers, body, status))
        with contextlib.suppress(OSError):
            self.send_response(status)
            if moved is not None:
                self.send_header("location", moved)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the calls are on record."""


def nobody() -> str:
    """An address where every connection is refused."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{line.getsockname()[1]}"


@contextlib.contextmanager
def mock_hive(knobs: Knobs | None = None, port: int = 0) -> Iterator[MockHive]:
    """A hive for a while."""
    hive = MockHive(knobs, port)
    try:
        yield hive
    finally:
        hive.close()


def spaced(calls: Sequence[Call], *seconds: float) -> bool:
    """Whether the calls came this far apart: early by little, late by no more than a busy machine makes them."""
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(calls)]
    return all(wanted - 0.4 <= gap <= wanted + 5 for wanted, gap in zip(seconds, gaps, strict=True))


def _until(look: Callable[[], list[Call] | None], hive: MockHive) -> list[Call]:
    deadline = time.monotonic() + _PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < deadline, hive.calls
        time.sleep(0.01)
    return found
