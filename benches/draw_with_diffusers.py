"""One picture by diffusers in a process of its own: what `sd-rbee generate` is compared with.

python -m benches.draw_with_diffusers FOLDER STEPS GUIDANCE OUTPUT
"""

import sys
from pathlib import Path

from benches.diffusers_parts import Pipeline


def main(folder: str, steps: str, guidance: str, output: str) -> None:
    Pipeline(Path(folder)).draw(int(steps), float(guidance)).save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
