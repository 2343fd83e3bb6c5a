"""`sd-rbee serve` that prints, for each job, when each of its denoising steps ended: monotonic seconds, as JSON.

The engine counts a step's time from the start of the generation, a moment after `run` was called: a stamp is too early
by that much, and a latency that is taken from it too long, never too short.
"""

import json
import sys
import time
from typing import Any

from sd_rbee.backend import native
from sd_rbee.cli import main
from sd_rbee.pipeline import OnStep, Pipeline
from sd_rbee.result import GenerationResult


def install() -> None:
    run = Pipeline.run

    def stamp(self: Pipeline, spec: Any, *, on_step: OnStep, **arguments: Any) -> GenerationResult:  # noqa: ANN401
        ends: list[float] = []
        begun = time.monotonic()

        def told(step: native.Step) -> None:
            if step.phase == "denoise":
                ends.append(begun + step.elapsed)
            on_step(step)

        result = run(self, spec, on_step=told, **arguments)
        print(json.dumps(ends), flush=True)
        return result

    Pipeline.run = stamp  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    install()
    sys.exit(main())
