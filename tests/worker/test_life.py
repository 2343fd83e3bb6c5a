"""A worker's life at its hardest: full load, signals in the midst of it, and no growth."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from clients import connect, draw, encoded, job_client_lines, request_bytes, stream, submit
from serving import LONG, PATIENCE, PROMPT_END, SMALL, WorkerProcess, busy, idle, impatient, serving

from sd_rbee.server.process import bind

TINY = {**SMALL, "steps": 1}


def children(worker: WorkerProcess) -> list[str]:
    told = subprocess.run(["ps", "-A", "-o", "ppid=", "-o", "comm="], capture_output=True, text=True, check=True)
    return [line for line in told.stdout.splitlines() if line.split()[0] == str(worker.process.pid)]


def resident_bytes(worker: WorkerProcess) -> int:
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(worker.process.pid)], capture_output=True, text=True, check=True
    )
    return 1024 * int(told.stdout)


class Reader(threading.Thread):
    """Follows a stream to its end.

    Attributes:
        last: The last line that said something.
    """

    def __init__(self, worker: WorkerProcess, path: str, body: dict[str, Any] | None) -> None:
        super().__init__(daemon=True)
        self.last = ""
        self.begun = threading.Event()
        self._worker, self._path, self._body = worker, path, body
        self.start()
        assert self.begun.wait(PATIENCE)

    def run(self) -> None:
        if self._body is None:
            for line in job_client_lines(self._worker, self._path):
                self.last = line
                self.begun.set()
            return
        with stream(self._worker, self._body, self._path) as events:
            for event in events:
                self.last = f"{event.name} {event.data.get('code')}"
                self.begun.set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]]
)
def test_signals_under_load_end_every_stream_with_an_event(signals: list[signal.Signals]) -> None:
    with serving() as worker, contextlib.ExitStack() as stack:
        readers = [Reader(worker, "/execute", LONG)]
        readers += [Reader(worker, "/execute", SMALL) for _ in range(4)]
        jobs = [submit(worker, SMALL) for _ in range(4)]
        followers = [Reader(worker, f"/v1/jobs/{job}/stream", None) for job in jobs]
        silent = stack.enter_context(connect(worker, 4096))
        silent.sendall(request_bytes(worker, "POST", "/execute", json.dumps(SMALL).encode()))
        stalled = stack.enter_context(connect(worker))
        stalled.sendall(request_bytes(worker, "POST", "/execute", b'{"prompt', {"content-length": "99"}))
        assert children(worker) == []
        for number in signals:
            worker.process.send_signal(number)
        code, seconds = worker.end()
        for reader in readers + followers:
            reader.join(PATIENCE)
        assert (code, seconds < PROMPT_END) == (0, True)
        assert {reader.last for reader in readers} == {"error CANCELLED"}
        assert {follower.last for follower in followers} == {"[CANCELLED]"}
        assert not any("Traceback" in line for line in worker.lines), worker.lines


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
def test_a_signal_before_the_model_is_there_ends_the_worker_too() -> None:
    with WorkerProcess() as worker:
        worker.wait_for("serving")
        code, seconds = worker.stop()
        assert (code, seconds < PROMPT_END) == (0, True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
def test_a_reader_who_takes_nothing_does_not_hold_up_the_end() -> None:
    with serving() as worker, connect(worker, 4096) as line:
        body = {**TINY, "width": 256, "height": 256, "num_samples": 8}
        job = submit(worker, body)
        line.sendall(request_bytes(worker, "GET", f"/v1/jobs/{job}/stream"))
        draw(worker, SMALL)
        code, seconds = worker.stop()
        assert (code, seconds < PROMPT_END) == (0, True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
def test_work_that_does_not_come_back_is_left_behind() -> None:
    with serving(script=str(Path(__file__).with_name("slow_worker.py"))) as worker, connect(worker) as line:
        body = json.dumps({"prompt": "a robot", "image": encoded()}).encode()
        line.sendall(request_bytes(worker, "POST", "/img2img", body))
        worker.wait_for("asleep")
        code, seconds = worker.stop()
        assert (code, seconds < PROMPT_END) == (0, True)


def test_a_shutdown_by_request_answers_first_and_refuses_what_comes_after() -> None:
    with serving() as worker:
        reader = Reader(worker, "/execute", LONG)
        assert worker.client.post("/shutdown").json() == {"status": "shutting down"}
        code, seconds = worker.end()
        assert (code, seconds < PROMPT_END) == (0, True)
        reader.join(PATIENCE)
        assert reader.last == "error CANCELLED"
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(worker.address, timeout=1)


def test_comments_keep_a_line_alive_while_every_core_computes() -> None:
    worker = impatient()
    with worker.client.stream("POST", "/execute", json={**LONG, "width": 1024, "height": 1024}) as response:
        comments, steps = 0, []
        for line in response.iter_lines():
            if line == "event: progress":
                steps.append(time.monotonic())
            comments += len(steps) == 1 and line.startswith(":")
            if len(steps) == 2:
                break
    silence = steps[1] - steps[0]
    assert comments >= max(1, int(silence / 0.2 / 4))
    idle(worker)


def test_a_step_is_told_before_the_next_has_ended() -> None:
    worker = impatient()
    with stream(worker, LONG) as events:
        job_id = next(events).data["job_id"]
        behind = []
        for event in events:
            if event.name == "progress":
                now = worker.client.get(f"/v1/jobs/{job_id}").json()["progress"]["step"]
                behind.append(now - event.data["step"])
                if len(behind) == 9:
                    break
    # Now and then a busy machine may keep this client waiting for longer than a step.
    assert sorted(behind)[4] == 0, behind
    idle(worker)


def test_equal_keys_at_once_are_one_job() -> None:
    worker = impatient()
    key, found = {"idempotency-key": "at-once"}, set()
    body = {"operation": "image_generation", "hive_id": "h", "model": "pollen", **SMALL}

    def ask(line: socket.socket) -> None:
        line.sendall(request_bytes(worker, "POST", "/v1/jobs", json.dumps(body).encode(), key))
        found.add(json.loads(line.recv(1 << 16).partition(b"\r\n\r\n")[2] or line.recv(1 << 16))["job_id"])

    with busy(worker), contextlib.ExitStack() as stack:
        lines = [stack.enter_context(connect(worker)) for _ in range(20)]
        threads = [threading.Thread(target=ask, args=(line,)) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert worker.client.get("/info").json()["queue"]["waiting"] == 1
    assert len(found) == 1
    with stream(worker, SMALL, headers=key) as events:
        assert list(events)[-1].data["job_id"] == found.pop()


def test_what_is_kept_is_bounded_in_number_and_time() -> None:
    with serving("--keep-jobs", 3, "--keep-seconds", 3) as worker:
        jobs = [submit(worker, {**TINY, "seed": seed}) for seed in range(6)]
        draw(worker, TINY)
        statuses = [worker.client.get(f"/v1/jobs/{job}").status_code for job in jobs]
        # The drawing itself was given to somebody, and is the first that had to go.
        assert statuses == [410, 410, 410, 200, 200, 200]
        deadline = time.monotonic() + PATIENCE
        while {worker.client.get(f"/v1/jobs/{job}").status_code for job in jobs} != {410}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert worker.client.get(f"/v1/jobs/{jobs[0]}").json()["error"]["code"] == "JOB_EXPIRED"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells resident memory otherwise")
def test_memory_does_not_grow_with_jobs() -> None:
    with serving("--keep-jobs", 8, "--log-level", "error") as worker:

        def run(count: int) -> int:
            for _ in range(count):
                draw_json(worker)
            return resident_bytes(worker)

        first = run(30)
        assert run(120) - first < 10 << 20


def draw_json(worker: WorkerProcess) -> None:
    body = {**TINY, "width": 16, "height": 16}
    assert worker.client.post("/execute", json=body, headers={"accept": "application/json"}).status_code == 200


def test_small_packets_are_sent_at_once() -> None:
    async def of_an_accepted_connection() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line: socket.socket = writer.get_extra_info("socket")
            accepted.set_result(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = bind("127.0.0.1", 0)
        async with await asyncio.start_server(look, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            async with asyncio.timeout(PATIENCE):
                option = await accepted
            writer.close()
            return option

    assert asyncio.run(of_an_accepted_connection()) != 0
