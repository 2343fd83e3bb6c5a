"""`python -m benches`."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benches import measure, models, report
from benches.engines import ENGINES, IMPORTS, OTHERS, OURS, Setting, convert_command, opponents, why_missing
from benches.processes import EngineError, run
from benches.samples import Comparison
from sd_rbee.errors import SdRbeeError
from tools.random_checkpoint import PRESETS

Skip = Callable[[str], object]


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    try:
        model = models.resolve(arguments.model, arguments.cache, arguments.steps, arguments.size)
    except (SdRbeeError, OSError, ValueError) as error:
        parser.error(f"--model: {error}")
    setting = Setting(model, arguments.threads, arguments.cache)
    about = report.environment(setting)
    skipped: list[str] = []

    def skip(line: str) -> None:
        print(line, file=sys.stderr)
        skipped.append(line)

    others = list(_usable(arguments.against, setting, skip))
    pairs: list[tuple[str, str | None]] = [
        (ours, other) for other in others for ours in opponents(ENGINES[other]) if ours in arguments.ours
    ]
    pairs = pairs or [(ours, None) for ours in arguments.ours]
    turns = measure.Turns(arguments.repeat, one_at_a_time=arguments.one_at_a_time)
    comparisons = list(_measure(arguments.parts, pairs, setting, turns, skip))
    arguments.show(about, comparisons, skipped)
    return 0 if comparisons else 1


def _usable(names: Sequence[str], setting: Setting, skip: Skip) -> Iterator[str]:
    """The engines of these that can be measured; the model is converted for those that need it."""
    for name in names:
        if missing := why_missing(ENGINES[name]):
            skip(missing)
            continue
        command = convert_command(ENGINES[name], setting)
        try:
            if command:
                run(command, setting)
            yield name
        except EngineError as error:
            skip(f"{name}: {error}")


def _measure(
    parts: Sequence[str], pairs: Sequence[tuple[str, str | None]], setting: Setting, turns: measure.Turns, skip: Skip
) -> Iterator[Comparison]:
    for ours, other in pairs:
        if any(part in parts for part in measure.NETWORK_PARTS):
            yield from measure.networks(parts, ours, other, setting, turns, skip)
        if "picture" in parts:
            yield from measure.cold_picture(ours, other, setting, turns.repeat, skip)
        if "memory" in parts:
            yield from measure.memory(ours, other, setting, skip)
    if "import" in parts:
        # candle is imported with this package: there is nothing of its own to time.
        libraries = dict.fromkeys(ENGINES[other].library for _, other in pairs if other)
        importable: list[str | None] = [library for library in libraries if library in IMPORTS]
        for library in importable or [None]:
            yield from measure.imports(library, setting, turns.repeat, skip)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches",
        description="Time this package against other engines and print ratios; above 1 this package is the better.",
    )
    presets = ", ".join(PRESETS)
    parser.add_argument(
        "--model",
        default="pollen",
        help=f"pollen, a folder in diffusers layout, or random weights by the name of {presets}; default: %(default)s",
    )
    parser.add_argument(
        "--parts",
        type=list_of(measure.PARTS),
        default=measure.PARTS,
        metavar="A,B,…",
        help=f"of {', '.join(measure.PARTS)}",
    )
    parser.add_argument(
        "--against", type=list_of(OTHERS), default=OTHERS, metavar="A,B,…", help=f"of {', '.join(OTHERS)}"
    )
    parser.add_argument("--ours", type=list_of(OURS), default=OURS, metavar="A,B,…", help=f"of {', '.join(OURS)}")
    parser.add_argument("--repeat", type=positive, default=5, metavar="N", help="rounds; default: %(default)s")
    parser.add_argument("--steps", type=positive, metavar="N", help="of a picture; default: the model's own, else 4")
    parser.add_argument(
        "--size", type=positive, metavar="N", help="sides in pixels, of random weights; default: the model's own"
    )
    parser.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="load a model anew for each turn, where two do not fit into memory together",
    )
    parser.add_argument("--threads", type=positive, default=cores(), metavar="N", help="of every engine; default: all")
    parser.add_argument(
        "--cache", type=Path, default=models.default_cache(), help="where random weights are kept; default: %(default)s"
    )
    shown = parser.add_mutually_exclusive_group()
    for flag, show, text in (
        ("--json", report.print_json, "print JSON with every sample"),
        ("--markdown", report.print_markdown, "print a table for a document"),
    ):
        shown.add_argument(flag, dest="show", action="store_const", const=show, default=report.print_table, help=text)
    return parser


def list_of(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [each for each in chosen if each not in allowed]:
            raise argparse.ArgumentTypeError(f"got {', '.join(unknown)}, allowed are {', '.join(allowed)}")
        return chosen

    return parse


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"got {text}, allowed is a whole number from 1")
    return int(text)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
