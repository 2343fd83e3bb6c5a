"""Worker processes on free ports, as a hive would start them."""

import atexit
import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

# What a worker hears from its surroundings; none of the machine's own may disturb a test.
TWINS = [
    *("WORKER_ID", "SD_VERSION", "PORT", "CALLBACK_URL", "CUDA_DEVICE", "METAL_DEVICE", "ROCM_DEVICE"),
    *("USE_FLASH_ATTN", "USE_F16", "MODEL_PATH", "RUST_LOG", "LLORCH_LOG_FORMAT"),
    *("SD_RBEE_API_TOKEN", "LLORCH_API_TOKEN", "SD_RBEE_DEBUG", "SD_RBEE_HOST"),
]
SMALL: dict[str, Any] = {"prompt": "a robot", "steps": 2, "width": 64, "height": 64, "seed": 7}
# Steps of a few hundred milliseconds each, and minutes of them: for what ends a job before it is done.
LONG: dict[str, Any] = {"prompt": "a robot", "steps": 150, "width": 512, "height": 512, "num_samples": 8}
# Far more than anything takes: it ends only what hangs, on a busy machine too.
PATIENCE = 60.0
# What the contract leaves a worker between a signal and its end.
PROMPT_END = 2.0
QUEUE_SIZE = 30
_SERVING = re.compile(r"sd-rbee: serving (\S+) on (http://\S+)")
_PYTHON = "from sd_rbee.cli.worker import {name}; {name}()"


def argv(*flags: object, script: str = "") -> list[str]:
    """The command line of a worker, by `sd-rbee serve`, by one of the scripts of `cli.worker`, or by a file."""
    command = ["-m", "sd_rbee", "serve"]
    if script:
        command = [script] if script.endswith(".py") else ["-c", _PYTHON.format(name=script)]
    return [sys.executable, *command, *map(str, flags)]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that a worker would hear, and with changes."""
    return {**{name: value for name, value in os.environ.items() if name not in TWINS}, **(changes or {})}


class WorkerProcess:
    """A worker that is told a port by the system, unless the flags name one.

    Attributes:
        lines: What it has written to stderr.
        url: Where it serves.
    """

    def __init__(self, *flags: object, env: Mapping[str, str] | None = None, script: str = "") -> None:
        ports = [] if "--port" in flags or "PORT" in (env or {}) else ["--port", 0]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            argv(*flags, *ports, script=script),
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._serving = threading.Event()
        self._url = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if match := _SERVING.search(line):
                self._url = match[2]
                self._serving.set()
        self._serving.set()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        assert self._serving.wait(PATIENCE), "no word of serving"
        assert self._url, "\n".join(self.lines)
        return self._url

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port

    @functools.cached_property
    def client(self) -> httpx.Client:
        """Calls this worker; one for all, so that its connections are used again."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)

    def ready(self) -> "WorkerProcess":
        """Waits until jobs are taken."""
        deadline = time.monotonic() + PATIENCE
        while self.client.get("/ready").status_code != 200:
            assert time.monotonic() < deadline, "\n".join(self.lines)
            time.sleep(0.02)
        return self

    def wait_for(self, text: str) -> str:
        """The first line of stderr with this text."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for line in list(self.lines):
                if text in line:
                    return line
            assert time.monotonic() < deadline, "\n".join(self.lines)
            time.sleep(0.01)

    def end(self, timeout: float = PATIENCE) -> tuple[int, float]:
        """Waits for its end; the exit code, and the seconds that it took from now."""
        begun = time.monotonic()
        code = self.process.wait(timeout)
        seconds = time.monotonic() - begun
        self._reader.join(PATIENCE)
        return code, seconds

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Sends a signal; the exit code, and the seconds until it was there."""
        self.process.send_signal(number)
        return self.end()

    def kill(self) -> None:
        if "client" in self.__dict__:
            self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@functools.cache
def log_file() -> Path:
    """Where the shared worker logs, at its most talkative."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name) / "worker.log"


@functools.cache
def shared() -> WorkerProcess:
    """A worker for all tests that leave it as they found it: idle, and with nobody waiting."""
    worker = WorkerProcess(
        *("--worker-id", "sd-worker-1", "--log-level", "trace", "--log-file", log_file()),
        *("--max-body-mb", 2, "--queue-size", 4, "--keep-alive-seconds", 0.5),
    )
    atexit.register(worker.kill)
    return worker.ready()


@functools.cache
def impatient() -> WorkerProcess:
    """A worker with room for many, and two seconds' patience with a client and with what it keeps."""
    worker = WorkerProcess(
        *("--queue-size", QUEUE_SIZE, "--patience-seconds", 2, "--keep-alive-seconds", 0.2),
        *("--keep-seconds", 2, "--keep-jobs", QUEUE_SIZE),
    )
    atexit.register(worker.kill)
    return worker.ready()


@contextlib.contextmanager
def busy(worker: WorkerProcess) -> Iterator[str]:
    """Keeps the worker drawing for as long as the block takes; the job's id."""
    with httpx.Client(base_url=worker.url, timeout=PATIENCE, trust_env=False) as client:
        body = {"operation": "image_generation", "hive_id": "hive-1", "model": "pollen", **LONG}
        job = client.post("/v1/jobs", json=body).raise_for_status().json()["job_id"]
        try:
            deadline = time.monotonic() + PATIENCE
            while client.get(f"/v1/jobs/{job}").json()["status"] != "running":
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield job
        finally:
            client.delete(f"/v1/jobs/{job}")


@contextlib.contextmanager
def serving(*flags: object, env: Mapping[str, str] | None = None, script: str = "") -> Iterator[WorkerProcess]:
    """A worker of one's own, ready."""
    with WorkerProcess(*flags, env=env, script=script) as worker:
        yield worker.ready()


@functools.cache
def failing() -> WorkerProcess:
    """A worker that fails where a prompt asks for it."""
    worker = WorkerProcess(script=str(Path(__file__).with_name("failing_worker.py")))
    atexit.register(worker.kill)
    return worker.ready()


def idle(worker: WorkerProcess) -> None:
    """Waits until nothing runs."""
    deadline = time.monotonic() + PATIENCE
    while worker.client.get("/v1/ready").json()["state"] != "idle":
        assert time.monotonic() < deadline
        time.sleep(0.02)
