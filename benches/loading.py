"""The parts of a model in each engine; each engine's libraries are imported by its own processes alone."""

import os
from collections.abc import Sequence
from pathlib import Path

from benches.engines import ENGINES
from benches.parts import Parts, Task


def parse(arguments: Sequence[str]) -> Task:
    """A task from a command line: ENGINE FOLDER STEPS GUIDANCE CACHE."""
    engine, folder, steps, guidance, cache = arguments
    threads = int(os.environ["SD_RBEE_THREADS"])
    return Task(engine, Path(folder), int(steps), float(guidance), Path(cache), threads)


def load(task: Task) -> Parts:
    engine = ENGINES[task.engine]
    if engine.library == "diffusers":
        from benches import diffusers_parts

        return diffusers_parts.load(task, engine.dtype)
    if engine.library == "openvino":
        from benches import openvino_parts

        return openvino_parts.load(task, engine.dtype)
    if engine.library == "sdcpp":
        from benches import sdcpp_parts

        return sdcpp_parts.load(task)
    from benches import sd_rbee_parts

    return sd_rbee_parts.load(task, engine)
