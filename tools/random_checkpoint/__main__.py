"""`python -m tools.random_checkpoint`."""

import argparse
import dataclasses
import sys
from pathlib import Path

from tools.random_checkpoint import PRESETS, write_checkpoint
from tools.random_checkpoint.config import DTYPES


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.random_checkpoint",
        description="Write a Stable Diffusion checkpoint with random weights in diffusers layout.",
    )
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("folder", type=Path, help="a new or an empty folder")
    parser.add_argument("--dtype", choices=DTYPES, default="f32", help="of the weights; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the weights; default: %(default)s")
    arguments = parser.parse_args()
    config = dataclasses.replace(PRESETS[arguments.preset], dtype=arguments.dtype)
    try:
        folder = write_checkpoint(
            config, arguments.folder, seed=arguments.seed, on_file=lambda path: print(path, file=sys.stderr)
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
