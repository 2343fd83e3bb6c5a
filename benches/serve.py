"""`python -m benches.serve`: what a worker adds to the pipeline, and how it answers while every core computes."""

import argparse
import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from benches import models, report
from benches.__main__ import cores, list_of, positive
from benches.engines import PROMPT, SEED, Setting
from benches.samples import Distribution
from benches.served import ServedWorker, step_arrivals
from sd_rbee.errors import SdRbeeError
from sd_rbee.pipeline import Pipeline

_SMALL: dict[str, Any] = {"prompt": PROMPT, "steps": 2, "width": 64, "height": 64, "seed": SEED}
# Steps that are long enough for an event to be late by, and short enough for many of them.
_WATCHED: dict[str, Any] = {**_SMALL, "steps": 100, "width": 256, "height": 256}
# Longer than anything is measured.
_ENDLESS: dict[str, Any] = {**_SMALL, "steps": 150, "width": 512, "height": 512, "num_samples": 8}
_SECONDS_BETWEEN_PROBES = 0.01
_FEW_JOBS, _MANY_JOBS = 10, 1000


def overhead(setting: Setting, repeat: int) -> Iterator[Distribution]:
    """One small picture by a call and by a request, in turns, both with the model loaded and warm."""
    pipeline = Pipeline.load(str(setting.model.folder), "cpu", "f32")
    arguments = {"num_inference_steps": _SMALL["steps"], "width": 64, "height": 64, "seed": SEED}
    calls, requests = Distribution("small picture, pipeline call", "s"), Distribution("small picture, request", "s")
    added = Distribution("added by the worker", "s")
    with ServedWorker(setting) as worker:
        call = partial(pipeline.generate, PROMPT, **arguments)
        request = partial(worker.draw, _SMALL)
        for turn in range(-5, 50 * repeat):
            seconds = _seconds(call), _seconds(request)
            # The first ones warm up.
            if turn >= 0:
                calls.samples.append(seconds[0])
                requests.samples.append(seconds[1])
                added.samples.append(seconds[1] - seconds[0])
    yield from (calls, requests, added)


def events(setting: Setting, repeat: int) -> Iterator[Distribution]:
    """From the end of a step in the engine to its event at the client."""
    late = Distribution("event of a step, from its end", "s")
    with ServedWorker(setting, stamping=True) as worker:
        for _ in range(repeat):
            with contextlib.closing(worker.connect()) as connection:
                arrivals = list(step_arrivals(connection, _WATCHED))
            late.samples += [at - end for at, end in zip(arrivals, worker.step_ends(), strict=True)]
    yield late


def health(setting: Setting, repeat: int) -> Iterator[Distribution]:
    """`/health` on a new connection each, idle and while the worker draws."""
    with ServedWorker(setting) as worker:
        for busy in (False, True):
            answers = Distribution(f"/health, {'drawing' if busy else 'idle'}", "s")
            with _drawing(worker) if busy else contextlib.nullcontext():
                for _ in range(300 * repeat):
                    answers.samples.append(_seconds(partial(worker.get, "/health")))
                    time.sleep(_SECONDS_BETWEEN_PROBES)
            yield answers


def memory(setting: Setting, _repeat: int) -> Iterator[Distribution]:
    """Resident memory of a worker after few jobs and after many."""
    with ServedWorker(setting) as worker:
        done = 0
        for jobs in (_FEW_JOBS, _MANY_JOBS):
            while done < jobs:
                worker.draw(_SMALL)
                done += 1
            yield Distribution(f"resident memory after {jobs} jobs", "MB", [worker.resident_bytes() / 1e6])


def end(setting: Setting, repeat: int) -> Iterator[Distribution]:
    """From SIGTERM to the end of a process that draws."""
    seconds = Distribution("SIGTERM to exit, drawing", "s")
    for _ in range(2 * repeat):
        with ServedWorker(setting) as worker, _drawing(worker):
            seconds.samples.append(worker.seconds_to_end())
    yield seconds


PARTS: dict[str, Callable[[Setting, int], Iterator[Distribution]]] = {
    "overhead": overhead,
    "events": events,
    "health": health,
    "memory": memory,
    "end": end,
}


@contextlib.contextmanager
def _drawing(worker: ServedWorker) -> Iterator[None]:
    """Has the worker draw from its first step on until the block ends, by a client that leaves then."""
    connection = worker.connect()
    begun, leave = threading.Event(), threading.Event()

    def follow() -> None:
        with contextlib.closing(connection), contextlib.suppress(OSError):
            for _ in step_arrivals(connection, _ENDLESS):
                begun.set()
                if leave.is_set():
                    break
        # Whoever waits for it is not to wait for ever where nothing came.
        begun.set()

    client = threading.Thread(target=follow)
    client.start()
    begun.wait()
    assert client.is_alive(), "the worker does not draw"
    try:
        yield
    finally:
        leave.set()
        client.join()


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.serve", description=__doc__)
    parser.add_argument("--model", default="pollen", help="pollen or a folder in diffusers layout")
    parser.add_argument("--parts", type=list_of(tuple(PARTS)), default=tuple(PARTS), metavar="A,B,…")
    parser.add_argument(
        "--repeat", type=positive, default=5, metavar="N", help="how much of each; default: %(default)s"
    )
    parser.add_argument("--threads", type=positive, default=cores(), metavar="N", help="of the engine; default: all")
    parser.add_argument("--json", action="store_true", help="print JSON with every sample")
    arguments = parser.parse_args()
    try:
        model = models.resolve(arguments.model, models.default_cache(), None)
    except (SdRbeeError, OSError) as error:
        parser.error(f"--model: {error}")
    if sys.platform == "win32":
        parser.error("this system has no SIGTERM to end a worker with")
    setting = Setting(model, arguments.threads, models.default_cache())
    about = report.environment(setting)
    measured: list[Distribution] = []
    for part in arguments.parts:
        print(part, file=sys.stderr)
        measured += PARTS[part](setting, arguments.repeat)
    if arguments.json:
        print(json.dumps({"environment": about, "measured": [each.as_json() for each in measured]}, indent=2))
    else:
        _print_table(about, measured)
    return 0


def _print_table(about: dict[str, object], measured: Sequence[Distribution]) -> None:
    table = Table("part")
    for heading in ("samples", "p50", "p99", "max"):
        table.add_column(heading, justify="right")
    for each in measured:
        figures = (report.figure(value, each.unit) for value in (each.at(0.5), each.at(0.99), max(each.samples)))
        table.add_row(each.part, str(len(each.samples)), *figures)
    console = Console()
    console.print(report.headline(about), highlight=False)
    console.print(table)
    for line in report.warnings(about):
        console.print(line, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
