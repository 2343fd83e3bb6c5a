"""Child processes: every engine computes in one of its own.

This process stays small: a child's peak memory, as the system counts it, begins with that of the process it came from.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from benches.engines import ROOT, Dtype, Engine, Setting, worker_command

# How much of what a failed process said is passed on.
_TAIL = 600


class EngineError(Exception):
    """An engine could not do what was asked of it."""


class Worker:
    """A model loaded in one engine, in a child process that ends with the `with` block.

    Attributes:
        flops: Floating-point operations by part, of parts that were asked for and have them counted.
    """

    def __init__(self, engine: Engine, setting: Setting) -> None:
        self.flops: dict[str, float] = {}
        self._engine = engine.name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            worker_command(engine, setting),
            cwd=ROOT,
            env=setting.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def __enter__(self) -> Self:
        try:
            self._answer()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, **request: object) -> float:
        """Seconds that the request took.

        Raises:
            EngineError: The engine failed, or its process ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            # It has ended; the missing answer says so with its last words.
            pass
        answer = self._answer()
        if answer.get("flops") is not None:
            self.flops[str(request["part"])] = float(answer["flops"])
        return float(answer["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            raise EngineError(f"{self._engine}: the process ended: {_tail(self._said.read())}")
        message = json.loads(line)
        if "error" in message:
            raise EngineError(f"{self._engine}: {message['error'][:_TAIL]}")
        return dict(message)

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()


class FreshWorker:
    """A model that is loaded for each request anew, so that it is in memory while it computes alone.

    Attributes:
        flops: As a `Worker`'s.
    """

    def __init__(self, engine: Engine, setting: Setting) -> None:
        self.flops: dict[str, float] = {}
        self._engine = engine
        self._setting = setting

    def ask(self, **request: object) -> float:
        """Seconds that the request took, the loading not counted.

        Raises:
            EngineError: The model could not be loaded, the engine failed, or its process ended.
        """
        with Worker(self._engine, self._setting) as worker:
            seconds = worker.ask(**request)
            self.flops |= worker.flops
        return seconds


def run(command: Sequence[str], setting: Setting) -> tuple[float, float | None]:
    """Runs a process to its end: wall seconds and peak memory in MB, None where the system does not tell.

    Raises:
        EngineError: It failed.
    """
    with tempfile.TemporaryFile() as said:
        start = perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=setting.environment(), stdout=said, stderr=said)
        peak = _wait(process)
        seconds = perf_counter() - start
        if process.returncode != 0:
            said.seek(0)
            raise EngineError(f"{' '.join(command[2:4])} ended with {process.returncode}: {_tail(said.read())}")
    return seconds, peak


def peak_flops(dtype: Dtype, seconds: float, setting: Setting) -> float:
    """Floating-point operations a second that the machine reaches at most, in a probe of about so many seconds.

    Raises:
        EngineError: It failed.
    """
    return _printed(f"from sd_rbee.backend import native; print(native.peak_flops({dtype!r}, {seconds}))", setting)


def import_seconds(statement: str, setting: Setting) -> float:
    """Seconds that a statement takes in a fresh interpreter, whose own start is not counted.

    Raises:
        EngineError: It failed.
    """
    return _printed(f"from time import perf_counter as now; start = now(); {statement}; print(now() - start)", setting)


def _printed(code: str, setting: Setting) -> float:
    """The number that Python prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=setting.environment(), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise EngineError(f"{code}: {_tail(done.stderr)}")
    return float(done.stdout.split()[-1])


def _wait(process: subprocess.Popen[bytes]) -> float | None:
    if sys.platform == "win32":
        process.wait()
        return None
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    # Kilobytes, but bytes on macOS.
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def _tail(said: bytes) -> str:
    return said.decode(errors="replace").strip()[-_TAIL:]
