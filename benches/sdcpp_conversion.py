"""A model as the one file that stable-diffusion.cpp reads.

python -m benches.sdcpp_conversion FOLDER CACHE
"""

import sys
from pathlib import Path

from benches.models import kept
from tools.random_checkpoint.single_file import write_single_file


def converted(folder: Path, cache: Path) -> Path:
    """Where the conversion of the model in `folder` is kept."""
    return kept(folder, cache, "single-file").with_suffix(".safetensors")


def main(folder: str, cache: str) -> None:
    output = converted(Path(folder), Path(cache))
    if output.is_file():
        return
    print(f"writing {folder} as {output}", file=sys.stderr)
    unfinished = output.with_suffix(".part")
    write_single_file(folder, unfinished)
    unfinished.rename(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
