"""The measurements: engines take turns, so that what changes on the machine changes for both."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Literal

from benches.engines import IMPORTS, NATIVE, Setting, picture_command
from benches.processes import EngineError, Worker, import_seconds, run
from benches.samples import Comparison, relative_rms

NETWORK_PARTS = ("unet", "vae", "picture")
PARTS = (*NETWORK_PARTS, "import", "memory")
_LABELS = {"unet": "UNet step, guided", "vae": "VAE decode", "picture": "picture, loaded"}
# A turn takes at least this long, so that short calls are averaged.
_TURN = 0.5
# Threads of the engine before may still be spinning.
_SETTLE = 0.3

Sampler = Callable[[], float]
Skipped = Callable[[str], object]


def _rounds(comparison: Comparison, native: Sampler, other: Sampler | None, repeat: int) -> Comparison:
    for index in range(repeat):
        against = f" against {comparison.against}" if comparison.against else ""
        print(f"{comparison.part}{against}, round {index + 1} of {repeat}", file=sys.stderr)
        comparison.native.append(native())
        if other is not None:
            comparison.other.append(other())
    return comparison


def networks(
    parts: Sequence[str], other: str | None, setting: Setting, repeat: int, skipped: Skipped
) -> Iterator[Comparison]:
    """Parts of a loaded model. Two engines are in memory at a time, however many are compared."""
    with ExitStack() as stack:
        try:
            workers = [stack.enter_context(Worker(engine, setting)) for engine in (NATIVE, other) if engine]
        except EngineError as error:
            skipped(str(error))
            return
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for part in (part for part in NETWORK_PARTS if part in parts):
            comparison = Comparison(_LABELS[part], "s", other)
            outputs = [scratch / f"{part}-{worker.engine}" for worker in workers]
            try:
                turns = [_turns(worker, part, output) for worker, output in zip(workers, outputs, strict=True)]
                if other:
                    ours, theirs = outputs
                    comparison.apart = relative_rms(ours, theirs, "B" if part == "picture" else "f")
                yield _rounds(comparison, turns[0], turns[1] if other else None, repeat)
            except (EngineError, ValueError) as error:
                skipped(f"{comparison.part}: {error}")


def _turns(worker: Worker, part: str, output: Path) -> Sampler:
    """Warms a part up, keeping its output for comparison, and returns what takes one turn of timing it."""
    quick = worker.ask(part=part, output=str(output)) < _TURN

    def turn() -> float:
        sleep(_SETTLE)
        return worker.ask(part=part, seconds=_TURN, warm_up=quick)

    return turn


def cold_picture(other: str | None, setting: Setting, repeat: int, skipped: Skipped) -> Iterator[Comparison]:
    """From the start of a process to the saved file."""

    def sampler(engine: str, folder: Path) -> Sampler:
        command = picture_command(engine, setting.model, setting.model.steps, folder / f"{engine}.png")
        return lambda: run(command, setting)[0]

    comparison = Comparison("picture, cold process", "s", other)
    yield from _processes(comparison, sampler, repeat, skipped)


def memory(other: str | None, setting: Setting, skipped: Skipped) -> Iterator[Comparison]:
    """Peak memory of such a process; the number of steps does not change it, so one is enough, and one round."""
    if sys.platform == "win32":
        skipped("memory: skipped, this system does not tell the peak of an ended process")
        return

    def sampler(engine: str, folder: Path) -> Sampler:
        command = picture_command(engine, setting.model, 1, folder / f"{engine}.png")
        return lambda: run(command, setting)[1] or 0.0

    yield from _processes(Comparison("peak memory, cold process", "MB", other), sampler, 1, skipped)


def _processes(
    comparison: Comparison, sampler: Callable[[str, Path], Sampler], repeat: int, skipped: Skipped
) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        native = sampler(NATIVE, Path(folder))
        other = sampler(comparison.against, Path(folder)) if comparison.against else None
        try:
            yield _rounds(comparison, native, other, repeat)
        except EngineError as error:
            skipped(f"{comparison.part}: {error}")


def imports(
    other: Literal["diffusers"] | None, setting: Setting, repeat: int, skipped: Skipped
) -> Iterator[Comparison]:
    """Seconds to import the package, and to have the class that draws."""
    for index, statement in enumerate(IMPORTS[NATIVE]):
        theirs = IMPORTS[other][index] if other else None

        def sampler(statement: str) -> Sampler:
            # The first time the files come from disc.
            import_seconds(statement, setting)
            return lambda: import_seconds(statement, setting)

        try:
            native, their = sampler(statement), sampler(theirs) if theirs else None
            yield _rounds(Comparison(statement, "s", other), native, their, repeat)
        except EngineError as error:
            skipped(str(error))
