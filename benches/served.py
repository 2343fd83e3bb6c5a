"""A worker in a process of its own, and the least of a client: no library's own time is in what is measured."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

from benches.engines import ROOT, Setting

_SERVING = re.compile(r"on http://([0-9.]+):([0-9]+)")
_PATIENCE = 600.0


class ServedWorker:
    """A worker that serves a model on a free port, from the `with` block's start, ready, to its end.

    Args:
        setting: The model, and the threads.
        stamping: Whether it tells when its steps end.
    """

    def __init__(self, setting: Setting, *, stamping: bool = False) -> None:
        self._setting = setting
        self._module = "benches.stamping_worker" if stamping else "sd_rbee"

    def __enter__(self) -> Self:
        flags = ("serve", "--port", "0", "--model-path", self._setting.model.folder, "--log-level", "error")
        self.process = subprocess.Popen(
            [sys.executable, "-m", self._module, *map(str, flags)],
            cwd=ROOT,
            env=self._setting.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        match = _SERVING.search(line)
        if match is None:
            self._end()
            raise OSError(f"the worker does not serve: {line.strip()}")
        self.host, self.port = match[1], int(match[2])
        deadline = time.monotonic() + _PATIENCE
        while self.get("/ready").status != http.HTTPStatus.OK:
            if time.monotonic() > deadline:
                self._end()
                raise OSError("the worker has not become ready")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=_PATIENCE)

    def get(self, path: str) -> http.client.HTTPResponse:
        """The answer to a probe, on a connection of its own, read to its end."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response

    def draw(self, body: Mapping[str, Any]) -> None:
        """Draws on a connection of its own, and reads the finished result as JSON.

        Raises:
            OSError: There is none.
        """
        with contextlib.closing(self.connect()) as connection:
            _post(connection, body, "application/json").read()

    def step_ends(self) -> list[float]:
        """Monotonic times at which the steps of the job that was drawn ended; once for each job, where it stamps."""
        assert self.process.stdout is not None
        return [float(at) for at in json.loads(self.process.stdout.readline())]

    def resident_bytes(self) -> int:
        told = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return 1024 * int(told.stdout)

    def seconds_to_end(self) -> float:
        """From SIGTERM to the end of the process.

        Raises:
            OSError: It did not end well.
        """
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(_PATIENCE)
        seconds = time.monotonic() - begun
        if code != 0:
            raise OSError(f"the worker ended with {code}")
        return seconds

    def _end(self) -> None:
        self.process.kill()
        self.process.communicate()


def step_arrivals(connection: http.client.HTTPConnection, body: Mapping[str, Any]) -> Iterator[float]:
    """Draws; monotonic times at which the events of denoising steps were here, each as it comes.

    Raises:
        OSError: The job was not taken.
    """
    response = _post(connection, body, "text/event-stream")
    while line := response.readline():
        if line.startswith(b'data: {"type":"progress"'):
            yield time.monotonic()


def _post(connection: http.client.HTTPConnection, body: Mapping[str, Any], accept: str) -> http.client.HTTPResponse:
    headers = {"content-type": "application/json", "accept": accept}
    connection.request("POST", "/execute", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        raise OSError(f"the worker answered {response.status}: {response.read(600).decode(errors='replace')}")
    return response
