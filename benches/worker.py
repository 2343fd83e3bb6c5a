"""A process that holds one engine: it loads the model, then answers requests, each a line of JSON.

python -m benches.worker ENGINE FOLDER STEPS GUIDANCE
"""

import json
import os
import sys
from pathlib import Path
from time import perf_counter

from benches.parts import Part, Parts


def load(engine: str, folder: Path, steps: int, guidance: float) -> Parts:
    if engine == "diffusers":
        from benches import diffusers_parts

        return diffusers_parts.load(folder, steps, guidance, int(os.environ["OMP_NUM_THREADS"]))
    from benches import sd_rbee_parts

    return sd_rbee_parts.load(engine, folder, steps, guidance)


def answer(parts: Parts, request: dict[str, object]) -> dict[str, object]:
    """Runs a part once and keeps its bytes in the file `output`, or times it over about `seconds`."""
    part = parts[str(request["part"])]
    if "output" in request:
        start = perf_counter()
        result = part.run()
        seconds = perf_counter() - start
        Path(str(request["output"])).write_bytes(part.raw(result))
        return {"seconds": seconds}
    return {"seconds": timed(part, float(str(request["seconds"])), warm_up=bool(request["warm_up"]))}


def timed(part: Part, seconds: float, *, warm_up: bool) -> float:
    """Seconds a call, over as many calls as begin within `seconds`."""
    if warm_up:
        part.run()
    calls, start, elapsed = 0, perf_counter(), 0.0
    while calls == 0 or elapsed < seconds:
        part.run()
        calls += 1
        elapsed = perf_counter() - start
    return elapsed / calls


def main(engine: str, folder: str, steps: str, guidance: str) -> None:
    # Libraries print; answers go where nothing else does.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(message: dict[str, object]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    try:
        parts = load(engine, Path(folder), int(steps), float(guidance))
    except Exception as error:
        reply({"error": f"cannot load the model: {error}"})
        raise
    reply({})
    for line in sys.stdin:
        try:
            reply(answer(parts, json.loads(line)))
        except Exception as error:
            reply({"error": str(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
