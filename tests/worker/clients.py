"""Ways of calling a worker: by events, as the hive's job client does, and by a bare socket."""

import base64
import contextlib
import io
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, connect_sse
from PIL import Image
from serving import PATIENCE, WorkerProcess


@dataclass(frozen=True)
class Event:
    """An event as its reader got it."""

    name: str
    id: str
    data: dict[str, Any]
    at: float


def _event(sent: ServerSentEvent) -> Event:
    return Event(sent.event, sent.id, json.loads(sent.data), time.monotonic())


@contextlib.contextmanager
def stream(
    worker: WorkerProcess, body: Mapping[str, Any], path: str = "/execute", headers: Mapping[str, str] | None = None
) -> Iterator[Iterator[Event]]:
    """The events of a request, as they come; leaving the block closes the connection."""
    with (
        httpx.Client(base_url=worker.url, timeout=PATIENCE, trust_env=False) as client,
        connect_sse(client, "POST", path, json=body, headers=dict(headers or {})) as source,
    ):
        assert source.response.status_code == 200, source.response.read()
        # A comment that keeps the line alive comes out as an event without data.
        yield (_event(sent) for sent in source.iter_sse() if sent.data)


def draw(worker: WorkerProcess, body: Mapping[str, Any], path: str = "/execute") -> list[Event]:
    """All events of a request."""
    with stream(worker, body, path) as events:
        return list(events)


def submit(worker: WorkerProcess, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> str:
    """The id of a new job."""
    fields = {"operation": "image_generation", "hive_id": "hive-1", "model": "pollen", **body}
    response = worker.client.post("/v1/jobs", json=fields, headers=dict(headers or {}))
    assert response.status_code == 200, response.text
    job = response.json()
    assert job["sse_url"] == f"/v1/jobs/{job['job_id']}/stream"
    return str(job["job_id"])


def job_events(worker: WorkerProcess, job_id: str, last_event_id: int | None = None) -> tuple[list[Event], str]:
    """A job's events, and the marker at their end."""
    headers = {} if last_event_id is None else {"last-event-id": str(last_event_id)}
    with worker.client.stream("GET", f"/v1/jobs/{job_id}/stream", headers=headers) as response:
        assert response.status_code == 200, response.read()
        sent = [each for each in EventSource(response).iter_sse() if each.data]
    return [_event(each) for each in sent[:-1]], sent[-1].data


def job_client_lines(worker: WorkerProcess, path: str) -> Iterator[str]:
    """What the hive's job client makes of a stream: line by line, `data:` cut off, up to a marker."""
    with worker.client.stream("GET", path) as response:
        for line in response.iter_lines():
            text = line.removeprefix("data:").strip()
            if text:
                yield text
            if text in ("[DONE]", "[CANCELLED]") or text.startswith("[ERROR]"):
                return


def wait_for_status(worker: WorkerProcess, job_id: str, *wanted: str) -> dict[str, Any]:
    """The job, once it is in one of these states."""
    deadline = time.monotonic() + PATIENCE
    while True:
        job: dict[str, Any] = worker.client.get(f"/v1/jobs/{job_id}").json()
        if job["status"] in wanted:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.01)


def request_bytes(
    worker: WorkerProcess, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """A request as it goes over the line, with nothing added but what HTTP asks for."""
    host, port = worker.address
    fields = {"host": f"{host}:{port}", "content-type": "application/json", "content-length": str(len(body))}
    fields |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def connect(worker: WorkerProcess, receive_buffer: int | None = None) -> socket.socket:
    """A connection to the worker."""
    line = socket.socket()
    if receive_buffer is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    line.settimeout(PATIENCE)
    line.connect(worker.address)
    return line


def exchange(
    worker: WorkerProcess, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer to a request that no client library has made good."""
    with connect(worker) as line:
        line.sendall(request_bytes(worker, method, path, body, {"connection": "close", **(headers or {})}))
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    head, _, rest = answer.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    pairs = (field.split(": ", 1) for field in fields)
    return int(first.split()[1]), {name.lower(): value for name, value in pairs}, rest


def picture(text: str) -> Image.Image:
    """The picture in base64."""
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


def encoded(size: tuple[int, int] = (64, 64), format: str = "PNG") -> str:
    """A picture in base64, one that any model would take."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, format)
    return base64.b64encode(buffer.getvalue()).decode()
