"""`python -m tools.parity_full`."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.parity_full import tables
from tools.parity_full.cases import DEFAULT_PARTS, PARTS, PICTURES, case
from tools.parity_full.engine import DIFFUSERS, DTYPES, OURS
from tools.random_checkpoint import PRESETS, write_checkpoint

_MODELS = ("v1-5", "v2-1", "xl")
_MEMORY = "memory"
# How much of what a failed process said is passed on.
_TAIL = 2000


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.parity_full",
        description="Compare networks of published widths, with random weights, with those of diffusers.",
    )
    parser.add_argument("folder", type=Path, help="where models and results are kept; may hold those of another run")
    parser.add_argument("--models", nargs="+", choices=PRESETS, default=_MODELS, help="default: %(default)s")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=(*PARTS, *PICTURES, _MEMORY),
        default=(*DEFAULT_PARTS, *PICTURES, _MEMORY),
        help="those with -own are at the model's own size; default: %(default)s",
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=DTYPES[OURS],
        default=DTYPES[OURS],
        help="that memory is measured in; in bf16 diffusers takes minutes a step on a CPU without it",
    )
    measured = parser.add_mutually_exclusive_group()
    measured.add_argument(
        "--size", type=int, help="sides of the picture whose memory is measured; default: the model's"
    )
    measured.add_argument("--load-only", action="store_true", help="measure the memory of loading alone")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    given = parser.parse_args()
    parts = [part for part in given.parts if part != _MEMORY]
    what = "load" if given.load_only else str(given.size or "own")
    failed = False
    for model in given.models:
        folder, results = given.folder / model / "model", given.folder / model / "results"
        common = [model, str(folder), "--threads", str(given.threads)]
        for engine, todo in _unfinished(model, results, parts):
            _write(model, folder)
            (results / engine).mkdir(parents=True, exist_ok=True)
            said = _run([engine, *common, "--outputs", str(results / engine), "--parts", *todo])
            failed |= said is None
        for engine, dtype in [
            (engine, dtype) for engine, dtypes in DTYPES.items() for dtype in dtypes if dtype in given.dtypes
        ]:
            path = tables.memory_file(results, engine, dtype, what)
            if _MEMORY not in given.parts or path.exists():
                continue
            _write(model, folder)
            if (said := _run([engine, *common, "--dtype", dtype, "--picture", what])) is None:
                failed = True
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(said, encoding="utf-8")
    if networks := [part for part in parts if part not in PICTURES]:
        print(tables.parity(given.folder, given.models, networks), end="\n\n")
    if tasks := [part for part in parts if part in PICTURES]:
        print(tables.pictures(given.folder, given.models, tasks), end="\n\n")
    if _MEMORY in given.parts:
        print(tables.memory(given.folder, given.models, what))
    return int(failed)


def _unfinished(model: str, results: Path, parts: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Engines and the parts that each process of theirs is to compute: diffusers loads only the network of a part."""
    there = [part for part in parts if part in PICTURES or case(PRESETS[model], part) is not None]
    todo = {engine: [part for part in there if not (results / engine / f"{part}.npy").exists()] for engine in DTYPES}
    pictures = [part for part in todo[DIFFUSERS] if part in PICTURES]
    alone = [[part] for part in todo[DIFFUSERS] if part not in PICTURES]
    return [
        *((DIFFUSERS, parts) for parts in (*alone, pictures) if parts),
        *([(OURS, todo[OURS])] if todo[OURS] else []),
    ]


def _write(model: str, folder: Path) -> None:
    if (folder / "model_index.json").is_file():
        return
    # One without its index was not finished.
    shutil.rmtree(folder, ignore_errors=True)
    print(f"writing {model}", file=sys.stderr)
    write_checkpoint(replace(PRESETS[model], dtype="f16"), folder)


def _run(arguments: Sequence[str]) -> str | None:
    """What an engine's process printed; None where it failed, which is told of."""
    print(" ".join(arguments), file=sys.stderr)
    done = subprocess.run(
        [sys.executable, "-m", "tools.parity_full.engine", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        # Libraries print, too; what is asked for comes last.
        return done.stdout.strip().rpartition("\n")[2]
    why = "killed, perhaps for its memory" if done.returncode < 0 else done.stderr[-_TAIL:]
    print(f"ended with {done.returncode}: {why}", file=sys.stderr)
    return None


if __name__ == "__main__":
    sys.exit(main())
