"""One engine in this process: `python -m tools.parity_full.engine`, which prints what it did as JSON."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.goldens.network_cases import Networks, run
from tools.parity_full.cases import PARTS, PICTURES, arguments, case
from tools.random_checkpoint import PRESETS

OURS, DIFFUSERS = "sd-rbee", "diffusers"
DTYPES = {OURS: ("f32", "bf16", "int8"), DIFFUSERS: ("f32", "bf16")}
_PROMPT = "a robot"


def _native(folder: Path, dtype: str, threads: int) -> Any:  # noqa: ANN401
    from sd_rbee.backend import native

    return native.Pipeline.load(str(folder), device="cpu", dtype=dtype, num_threads=threads)


def _networks(engine: str, folder: Path, threads: int) -> Networks:
    if engine == OURS:
        networks: Networks = _native(folder, "f32", threads)
        return networks
    import torch

    from tools.reference.networks import Networks as TheirNetworks

    torch.set_num_threads(threads)
    return TheirNetworks(folder, torch.float32)


def _pictures(engine: str, folder: Path, threads: int) -> Callable[..., NDArray[np.uint8]]:
    """What draws a picture, (height, width, 3)."""
    if engine == OURS:
        ours = _native(folder, "f32", threads)
        return lambda **asked: np.asarray(ours.generate(**asked).images[0])
    import torch

    from tools.reference.pipeline import Pipeline

    torch.set_num_threads(threads)
    theirs = Pipeline(folder)
    return lambda **asked: theirs.generate(**asked)[0]


def compute(engine: str, model: str, folder: Path, parts: list[str], outputs: Path, threads: int) -> None:
    """Writes the output of each part to `outputs`/part.npy: f32, of a picture uint8."""
    networks, draw = None, None
    for part in parts:
        if part in PICTURES:
            draw = draw or _pictures(engine, folder, threads)
            values: NDArray[np.generic] = draw(**arguments(PRESETS[model], part))
        else:
            networks = networks or _networks(engine, folder, threads)
            asked = case(PRESETS[model], part)
            assert asked is not None
            values = run(networks, asked)
        unfinished = outputs / f"{part}.part.npy"
        np.save(unfinished, values)
        # With its name it is whole.
        unfinished.replace(outputs / f"{part}.npy")


def memory(engine: str, folder: Path, dtype: str, picture: str, threads: int) -> dict[str, float]:
    """GiB that the process has had at most: once the model is loaded, and after a picture of one step.

    The picture is of the model's `own` size, or has sides of so many pixels; for `load` there is none.
    """
    sides: dict[str, Any] = {"height": int(picture), "width": int(picture)} if picture.isdecimal() else {}
    if engine == OURS:
        draw = partial(_native(folder, dtype, threads).generate, seed=1)
    else:
        import diffusers
        import torch

        torch.set_num_threads(threads)
        torch_dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
        pipeline: Any = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch_dtype)
        draw = partial(pipeline, generator=torch.Generator().manual_seed(1))
    loaded = _peak_gib()
    if picture == "load":
        return {"loaded": loaded}
    draw(_PROMPT, num_inference_steps=1, **sides)
    return {"loaded": loaded, "drawn": _peak_gib()}


def _peak_gib() -> float:
    """Linux's VmHWM."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.parity_full.engine")
    parser.add_argument("engine", choices=DTYPES)
    parser.add_argument("model", choices=PRESETS)
    parser.add_argument("folder", type=Path, help="the model's")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--parts", nargs="+", choices=(*PARTS, *PICTURES), help="to compute in f32")
    parser.add_argument("--outputs", type=Path, help="where to write them")
    parser.add_argument("--dtype", help="to measure the memory of a picture in")
    parser.add_argument("--picture", help="that picture's sides in pixels, own for the model's, load for no picture")
    given = parser.parse_args()
    if given.parts:
        compute(given.engine, given.model, given.folder, given.parts, given.outputs, given.threads)
    else:
        print(json.dumps(memory(given.engine, given.folder, given.dtype, given.picture, given.threads)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
