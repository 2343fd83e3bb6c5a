"""`python -m benches`."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benches import measure, models, report
from benches.engines import OTHERS, Setting, why_missing
from benches.samples import Comparison
from sd_rbee.errors import SdRbeeError
from tools.random_checkpoint import PRESETS


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    try:
        model = models.resolve(arguments.model, arguments.cache, arguments.steps)
    except (SdRbeeError, OSError) as error:
        parser.error(f"--model: {error}")
    setting = Setting(model, arguments.threads)
    about = report.environment(setting)
    skipped: list[str] = []

    def skip(line: str) -> None:
        print(line, file=sys.stderr)
        skipped.append(line)

    comparisons = list(_measure(arguments.parts, arguments.against, setting, arguments.repeat, skip))
    show = report.print_json if arguments.json else report.print_table
    show(about, comparisons, skipped)
    return 0 if comparisons else 1


def _measure(
    parts: Sequence[str], against: Sequence[str], setting: Setting, repeat: int, skip: Callable[[str], object]
) -> Iterator[Comparison]:
    others: list[str | None] = []
    for engine in against:
        if missing := why_missing(engine):
            skip(missing)
        else:
            others.append(engine)
    for other in others or [None]:
        if any(part in parts for part in measure.NETWORK_PARTS):
            yield from measure.networks(parts, other, setting, repeat, skip)
        if "picture" in parts:
            yield from measure.cold_picture(other, setting, repeat, skip)
        if "memory" in parts:
            yield from measure.memory(other, setting, skip)
    if "import" in parts:
        # candle is imported with this package: there is nothing of its own to time.
        yield from measure.imports("diffusers" if "diffusers" in others else None, setting, repeat, skip)


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
    parser.add_argument("--parts", type=list_of(measure.PARTS), default=measure.PARTS, metavar="A,B,…")
    parser.add_argument("--against", type=list_of(OTHERS), default=OTHERS, metavar="A,B,…")
    parser.add_argument("--repeat", type=positive, default=5, metavar="N", help="rounds; default: %(default)s")
    parser.add_argument("--steps", type=positive, metavar="N", help="of a picture; default: the model's own, else 4")
    parser.add_argument("--threads", type=positive, default=cores(), metavar="N", help="of every engine; default: all")
    parser.add_argument(
        "--cache", type=Path, default=models.default_cache(), help="where random weights are kept; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print JSON with every sample")
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
