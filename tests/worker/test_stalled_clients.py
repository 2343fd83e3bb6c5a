"""Clients that leave, stall or dawdle: nobody else notices, and nothing of theirs stays."""

import contextlib
import json
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from clients import connect, draw, request_bytes, stream, submit, wait_for_status
from serving import LONG, PATIENCE, SMALL, WorkerProcess, busy, idle, impatient

# More than the system keeps on the way to a reader with a small buffer.
BULKY: dict[str, Any] = {**SMALL, "steps": 1, "width": 256, "height": 256, "num_samples": 8}


def post(worker: WorkerProcess, body: dict[str, Any]) -> bytes:
    return request_bytes(worker, "POST", "/execute", json.dumps(body).encode())


@contextlib.contextmanager
def bulky_stream(worker: WorkerProcess, receive_buffer: int) -> Iterator[tuple[socket.socket, str]]:
    """A job whose result is large, and a connection on which its stream begins."""
    job_id = submit(worker, BULKY)
    with connect(worker, receive_buffer) as line:
        line.sendall(request_bytes(worker, "GET", f"/v1/jobs/{job_id}/stream"))
        yield line, job_id


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ends(line: socket.socket) -> bytes:
    """What still comes until the other side closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := line.recv(1 << 16):
            data += part
    return data


@pytest.mark.parametrize("bytes_a_second", [0, 1])
def test_a_reader_who_takes_next_to_nothing_is_cut_and_holds_up_nobody(bytes_a_second: int) -> None:
    worker = impatient()
    with bulky_stream(worker, 4096) as (line, job_id):
        begun = time.monotonic()
        wait_for_status(worker, job_id, "completed")
        assert draw(worker, SMALL)[-1].name == "complete"
        # An ended job is not given up while somebody reads it.
        expired = False
        while not expired:
            assert time.monotonic() - begun < PATIENCE
            if bytes_a_second:
                with contextlib.suppress(ConnectionResetError):
                    line.recv(1)
            time.sleep(1 / (bytes_a_second or 1))
            expired = worker.client.get(f"/v1/jobs/{job_id}").status_code == 410
        assert b"[DONE]" not in ends(line)


def test_a_reader_who_takes_his_time_gets_everything() -> None:
    worker = impatient()
    with bulky_stream(worker, 1 << 16) as (line, job_id):
        result = wait_for_status(worker, job_id, "completed")["result"]
        data, begun = b"", time.monotonic()
        while b"[DONE]" not in data:
            part = line.recv(1 << 16)
            assert part, len(data)
            data += part
            if time.monotonic() - begun < 3.5:
                time.sleep(0.2)
    whole = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", data)
    assert json.dumps(result["images"][-1]).encode() in whole


def test_a_connection_without_a_request_is_closed() -> None:
    worker = impatient()
    for head in (b"", b"GET /health HTTP/1.1\r\nhost: a"):
        begun = time.monotonic()
        with connect(worker) as line:
            line.sendall(head)
            assert ends(line) == b""
            assert 1.5 < time.monotonic() - begun < PATIENCE


def test_a_head_that_drips_in_is_closed_too() -> None:
    worker = impatient()
    with connect(worker) as line:
        begun = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - begun < PATIENCE:
                line.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - begun < PATIENCE


def test_a_second_request_may_not_stall_either() -> None:
    worker = impatient()
    with connect(worker) as line:
        line.sendall(request_bytes(worker, "GET", "/health"))
        data = b""
        while b"}" not in data:
            data += line.recv(1 << 16)
        line.sendall(b"GET /health HTTP/1.1\r\n")
        assert ends(line) == b""


@pytest.mark.parametrize("path", ["/execute", "/img2img", "/v1/jobs", "/cancel"])
def test_a_body_that_stalls_is_408(path: str) -> None:
    worker = impatient()
    with connect(worker) as line:
        line.sendall(request_bytes(worker, "POST", path, b'{"prompt": ', {"content-length": "1000"}))
        assert worker.client.get("/health").status_code == 200
        head, _, body = ends(line).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["error"]["code"] == "REQUEST_TIMEOUT"


def test_a_body_that_comes_slowly_is_read() -> None:
    worker = impatient()
    body = json.dumps({**SMALL, "steps": 1}).encode()
    head = request_bytes(worker, "POST", "/execute", b"", {"content-length": str(len(body)), "connection": "close"})
    with connect(worker) as line:
        line.sendall(head)
        size = len(body) // 4 + 1
        for start in range(0, len(body), size):
            time.sleep(0.7)
            line.sendall(body[start : start + size])
        assert b"event: complete" in ends(line)


def _reset(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


@pytest.mark.parametrize(
    "leave", [socket.socket.close, _reset, lambda line: line.shutdown(socket.SHUT_WR)], ids=["close", "reset", "half"]
)
def test_however_a_client_leaves_its_job_ends_within_a_step(leave: Callable[[socket.socket], object]) -> None:
    worker = impatient()
    with connect(worker) as line:
        line.sendall(post(worker, LONG))
        data = b""
        while b'"step":2' not in data:
            data += line.recv(1 << 16)
        job_id = data.partition(b'"job_id":"')[2].partition(b'"')[0].decode()
        leave(line)
        # Steps that go by while the departure is on its way are the machine's; the job has more than a thousand.
        assert wait_for_status(worker, job_id, "cancelled")["progress"]["step"] <= 6


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files under /proc")
def test_a_crowd_that_leaves_leaves_nothing_behind() -> None:
    worker = impatient()
    idle(worker)
    # What earlier clients have left open and idle is closed within five seconds.
    files = Path(f"/proc/{worker.process.pid}/fd")
    worker.client.get("/health")
    before = len(list(files.iterdir()))
    with busy(worker):
        lines = [connect(worker) for _ in range(20)]
        for line in lines:
            line.sendall(post(worker, SMALL))
        until(lambda: worker.client.get("/info").json()["queue"]["waiting"] == 20)
        for line in lines:
            line.close()
        until(lambda: worker.client.get("/info").json()["queue"]["waiting"] == 0)
    idle(worker)
    until(lambda: len(list(files.iterdir())) <= before)


def test_the_reader_of_a_hives_job_may_leave_in_any_dialect() -> None:
    worker = impatient()
    key = {"idempotency-key": "read-in-both-dialects"}
    with busy(worker):
        job_id = submit(worker, SMALL, key)
        with stream(worker, SMALL, headers=key) as events:
            assert next(events).data["job_id"] == job_id
        # The departure is seen by the time that a later request is answered twice over.
        for _ in range(20):
            worker.client.get("/health")
            time.sleep(0.01)
        assert worker.client.get(f"/v1/jobs/{job_id}").json()["status"] == "queued"
    assert wait_for_status(worker, job_id, "completed")["result"]["seed"] == SMALL["seed"]


def test_a_client_that_wants_the_finished_result_may_leave_too() -> None:
    worker, soon = impatient(), httpx.Timeout(PATIENCE, read=0.3)
    with busy(worker), httpx.Client(base_url=worker.url, trust_env=False) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/execute", json=SMALL, headers={"accept": "image/png"}, timeout=soon)
        until(lambda: worker.client.get("/info").json()["queue"]["waiting"] == 0)
