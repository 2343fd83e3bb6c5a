"""One picture by another engine in a process of its own: what `sd-rbee generate` is compared with.

python -m benches.draw ENGINE FOLDER STEPS GUIDANCE CACHE OUTPUT
"""

import sys

from benches.engines import ENGINES
from benches.loading import parse
from benches.parts import Task


def main(task: Task, output: str) -> None:
    engine = ENGINES[task.engine]
    if engine.library == "diffusers":
        from benches import diffusers_parts

        diffusers_parts.draw(diffusers_parts.pipeline(task, engine.dtype), task).save(output)
    elif engine.library == "sdcpp":
        from benches import sdcpp_parts

        sdcpp_parts.draw(sdcpp_parts.model(task), task).save(output)
    else:
        from PIL import Image

        from benches import openvino_parts

        Image.fromarray(openvino_parts.Model(task, engine.dtype).draw()).save(output)


if __name__ == "__main__":
    main(parse(sys.argv[1:-1]), sys.argv[-1])
