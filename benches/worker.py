"""A process that holds one engine: it loads the model, then answers requests, each a line of JSON.

python -m benches.worker ENGINE FOLDER STEPS GUIDANCE CACHE
"""

import json
import os
import sys
from pathlib import Path
from time import perf_counter

from benches.loading import load, parse
from benches.parts import Part, Parts, Task


def answer(parts: Parts, request: dict[str, object]) -> dict[str, object]:
    """Runs a part once and keeps its bytes in the file `output`, or times it over about `seconds`."""
    name = str(request["part"])
    if name not in parts:
        raise ValueError(f"has no {name} of its own, only {', '.join(parts)}")
    part = parts[name]
    if "output" in request:
        start = perf_counter()
        result = part.run()
        seconds = perf_counter() - start
        Path(str(request["output"])).write_bytes(part.raw(result))
        return {"seconds": seconds, "flops": part.flops}
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


def main(task: Task) -> None:
    # Libraries print; answers go where nothing else does.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(message: dict[str, object]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    try:
        parts = load(task)
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
    main(parse(sys.argv[1:]))
