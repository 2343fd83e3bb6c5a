"""The engines that are compared: which there are, and how each is started."""

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benches.models import Model

ROOT = Path(__file__).parent.parent
PROMPT = "a robot"
SEED = 1
NATIVE = "native"
OTHERS = ("candle", "diffusers")
# Statements, from the lightest to what drawing needs, by engine.
IMPORTS = {
    NATIVE: ("import sd_rbee", "from sd_rbee import Pipeline"),
    "diffusers": ("import diffusers", "from diffusers import StableDiffusionPipeline"),
}


@dataclass(frozen=True)
class Setting:
    """What is the same for all engines in a run."""

    model: Model
    threads: int

    def environment(self) -> dict[str, str]:
        """Variables of every child process: one number of threads for all, no network, no progress bars."""
        threads = ("SD_RBEE_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        offline = ("HF_HUB_OFFLINE", "TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS")
        quiet = ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY")
        return {
            **os.environ,
            **dict.fromkeys(threads, str(self.threads)),
            **dict.fromkeys(offline, "1"),
            **dict.fromkeys(quiet, "error"),
        }


def why_missing(engine: str) -> str | None:
    """Why an engine cannot be measured here; None if it can."""
    needed = ("torch", "diffusers", "transformers") if engine == "diffusers" else ()
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    return f"{engine}: skipped, {' and '.join(missing)} cannot be imported" if missing else None


def worker_command(engine: str, model: Model) -> list[str]:
    """A process that keeps the model loaded and computes parts of it when told to."""
    return _python("benches.worker", engine, model.folder, model.steps, model.guidance)


def picture_command(engine: str, model: Model, steps: int, output: Path) -> list[str]:
    """A process that starts cold, draws one picture and saves it."""
    if engine == "diffusers":
        return _python("benches.draw_with_diffusers", model.folder, steps, model.guidance, output)
    options = {
        "--model": model.folder,
        "--engine": engine,
        "--device": "cpu",
        "--dtype": "f32",
        "--scheduler": "ddim",
        "--steps": steps,
        "--guidance": model.guidance,
        "--seed": SEED,
        "--output": output,
    }
    return _python("sd_rbee", "generate", PROMPT, "--quiet", *(each for option in options.items() for each in option))


def _python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]
