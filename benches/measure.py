"""The measurements: engines take turns, so that what changes on the machine changes for both."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from benches.engines import ENGINES, IMPORTS, Setting, picture_command
from benches.processes import EngineError, FreshWorker, Worker, import_seconds, peak_flops, run
from benches.samples import Comparison, Side, relative_rms

NETWORK_PARTS = ("unet", "vae", "picture")
PARTS = (*NETWORK_PARTS, "import", "memory")
_LABELS = {"unet": "UNet step, guided", "vae": "VAE decode", "picture": "picture, loaded"}
# A turn takes at least this long, so that short calls are averaged.
_TURN = 0.5
# Threads of the engine before may still be spinning.
_SETTLE = 0.3
# Of a probe of the machine's peak, one before and one after the rounds.
_PROBE = 0.5


@dataclass(frozen=True)
class Turns:
    """How engines take turns.

    Attributes:
        repeat: Rounds.
        one_at_a_time: Whether a model is loaded anew for each turn, and is in memory for it alone.
    """

    repeat: int
    one_at_a_time: bool = False


Sampler = Callable[[], float]
Skipped = Callable[[str], object]


def _compared(part: str, unit: str, native: str, other: str | None) -> Comparison:
    return Comparison(part, "s" if unit == "s" else "MB", Side(native), Side(other) if other else None)


def _rounds(comparison: Comparison, samplers: Sequence[Sampler], repeat: int) -> Comparison:
    names = " against ".join(side.engine for side in comparison.sides)
    for index in range(repeat):
        print(f"{comparison.part}, {names}, round {index + 1} of {repeat}", file=sys.stderr)
        for side, sampler in zip(comparison.sides, samplers, strict=True):
            side.samples.append(sampler())
    return comparison


def networks(
    parts: Sequence[str], native: str, other: str | None, setting: Setting, turns: Turns, skipped: Skipped
) -> Iterator[Comparison]:
    """Parts of a loaded model. At most two engines are in memory at a time, however many are compared."""
    with ExitStack() as stack:

        def worker(name: str) -> Worker | FreshWorker:
            engine = ENGINES[name]
            return FreshWorker(engine, setting) if turns.one_at_a_time else stack.enter_context(Worker(engine, setting))

        try:
            workers = [worker(name) for name in (native, other) if name]
        except EngineError as error:
            skipped(str(error))
            return
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for part in (part for part in NETWORK_PARTS if part in parts):
            comparison = _compared(_LABELS[part], "s", native, other)
            outputs = [scratch / f"{part}-{side.engine}" for side in comparison.sides]
            try:
                samplers = [_turn(worker, part, output) for worker, output in zip(workers, outputs, strict=True)]
                comparison.flops = workers[0].flops.get(part)
                if other:
                    comparison.apart = relative_rms(outputs[0], outputs[1], "B" if part == "picture" else "f")
                _probe(comparison, setting)
                _rounds(comparison, samplers, turns.repeat)
                _probe(comparison, setting)
                yield comparison
            except (EngineError, ValueError) as error:
                skipped(f"{comparison.part}: {error}")


def _turn(worker: Worker | FreshWorker, part: str, output: Path) -> Sampler:
    """Warms a part up, keeping its output for comparison, and returns what takes one turn of timing it."""
    quick = worker.ask(part=part, output=str(output)) < _TURN
    warm_up = quick or isinstance(worker, FreshWorker)

    def turn() -> float:
        sleep(_SETTLE)
        return worker.ask(part=part, seconds=_TURN, warm_up=warm_up)

    return turn


def _probe(comparison: Comparison, setting: Setting) -> None:
    """Measures the machine's peak again where the part's operations are known."""
    if comparison.flops is None:
        return
    peaks = {dtype: peak_flops(dtype, _PROBE, setting) for dtype in {ENGINES[s.engine].dtype for s in comparison.sides}}
    for side in comparison.sides:
        side.peak = max(side.peak or 0.0, peaks[ENGINES[side.engine].dtype])


def cold_picture(
    native: str, other: str | None, setting: Setting, repeat: int, skipped: Skipped
) -> Iterator[Comparison]:
    """From the start of a process to the saved file."""

    def sampler(engine: str, folder: Path) -> Sampler:
        command = picture_command(ENGINES[engine], setting, setting.model.steps, folder / f"{engine}.png")
        return lambda: run(command, setting)[0]

    yield from _processes(_compared("picture, cold process", "s", native, other), sampler, repeat, skipped)


def memory(native: str, other: str | None, setting: Setting, skipped: Skipped) -> Iterator[Comparison]:
    """Peak memory of such a process; the number of steps does not change it, so one is enough, and one round."""
    if sys.platform == "win32":
        skipped("memory: skipped, this system does not tell the peak of an ended process")
        return

    def sampler(engine: str, folder: Path) -> Sampler:
        command = picture_command(ENGINES[engine], setting, 1, folder / f"{engine}.png")
        return lambda: run(command, setting)[1] or 0.0

    yield from _processes(_compared("peak memory, cold process", "MB", native, other), sampler, 1, skipped)


def _processes(
    comparison: Comparison, sampler: Callable[[str, Path], Sampler], repeat: int, skipped: Skipped
) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        samplers = [sampler(side.engine, Path(folder)) for side in comparison.sides]
        try:
            yield _rounds(comparison, samplers, repeat)
        except EngineError as error:
            skipped(f"{comparison.part}: {error}")


def imports(library: str | None, setting: Setting, repeat: int, skipped: Skipped) -> Iterator[Comparison]:
    """Seconds to import the package, and to have the class that draws."""
    for index, statement in enumerate(IMPORTS["native"]):

        def sampler(statement: str) -> Sampler:
            # The first time the files come from disc.
            import_seconds(statement, setting)
            return lambda: import_seconds(statement, setting)

        try:
            statements = [statement, *([IMPORTS[library][index]] if library else [])]
            comparison = _compared(statement, "s", "native", library)
            yield _rounds(comparison, [sampler(each) for each in statements], repeat)
        except EngineError as error:
            skipped(str(error))
