"""``python -m tools.goldens [PART…]``: makes the goldens anew."""

import argparse
import importlib
import time
from pathlib import Path

from tools.goldens import store

PARTS = (
    "tokenizer",
    "random",
    "schedules",
    "trajectories",
    "networks",
    "tiny_networks",
    "family_networks",
    "prompts",
    "pictures",
    "task_pictures",
    "image_processor",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.goldens", description="Makes the goldens anew.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all of {', '.join(PARTS)} where none is given")
    parser.add_argument("--folder", type=Path, default=store.FOLDER, help="where to write them")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.parts) - set(PARTS)):
        parser.error(f"PART: got {', '.join(unknown)}, allowed are {', '.join(PARTS)}")
    for part in arguments.parts or PARTS:
        began = time.perf_counter()
        golden = importlib.import_module(f"tools.goldens.{part}").make()
        path = store.save(part, golden, arguments.folder)
        seconds = time.perf_counter() - began
        print(f"{path}: {len(golden.cases)} cases, {path.stat().st_size / 1024:.0f} KiB, {seconds:.1f} s")


if __name__ == "__main__":
    main()
