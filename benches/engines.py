"""The engines that are compared: which there are, and how each is started."""

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benches.models import Model

ROOT = Path(__file__).parent.parent
PROMPT = "a robot"
SEED = 1
Dtype = Literal["f32", "bf16"]


@dataclass(frozen=True)
class Engine:
    """Somebody's networks, computing in one dtype.

    Attributes:
        name: On the command line and in tables.
        library: What computes: `native` is this package, `candle` the reference engine in it.
        dtype: What is multiplied.
        packages: What must be installed for it beside this package.
    """

    name: str
    library: Literal["native", "candle", "diffusers", "openvino", "sdcpp"]
    dtype: Dtype
    packages: tuple[str, ...] = ()


_TORCH = ("torch", "diffusers", "transformers")
_ALL = (
    Engine("native-f32", "native", "f32"),
    Engine("native-bf16", "native", "bf16"),
    Engine("candle", "candle", "f32"),
    Engine("diffusers-f32", "diffusers", "f32", _TORCH),
    Engine("diffusers-bf16", "diffusers", "bf16", _TORCH),
    # torch converts the networks.
    Engine("openvino-f32", "openvino", "f32", ("openvino", *_TORCH)),
    Engine("openvino-bf16", "openvino", "bf16", ("openvino", *_TORCH)),
    # Whose weights stay as they are stored; it multiplies in f32.
    Engine("sd-cpp", "sdcpp", "f32", ("stable_diffusion_cpp",)),
)
ENGINES = {engine.name: engine for engine in _ALL}
OURS = tuple(name for name, engine in ENGINES.items() if engine.library == "native")
OTHERS = tuple(name for name in ENGINES if name not in OURS)
# Statements, from the lightest to what drawing needs, by library.
IMPORTS = {
    "native": ("import sd_rbee", "from sd_rbee import Pipeline"),
    "diffusers": ("import diffusers", "from diffusers import StableDiffusionPipeline"),
    "openvino": ("import openvino", "from openvino import Core"),
    "sdcpp": ("import stable_diffusion_cpp", "from stable_diffusion_cpp import StableDiffusion"),
}


@dataclass(frozen=True)
class Setting:
    """What is the same for all engines in a run.

    Attributes:
        model: What computes.
        threads: Of every engine.
        cache: A folder for what an engine converts the model to.
    """

    model: Model
    threads: int
    cache: Path

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


def opponents(other: Engine) -> tuple[str, ...]:
    """Which of ours an engine is compared with: the same dtype; those that have one alone, with both."""
    return (
        OURS
        if other.library in ("candle", "sdcpp")
        else tuple(name for name in OURS if ENGINES[name].dtype == other.dtype)
    )


def why_missing(engine: Engine) -> str | None:
    """Why an engine cannot be measured here; None if it can."""
    missing = [package for package in engine.packages if importlib.util.find_spec(package) is None]
    return f"{engine.name}: skipped, not installed: {', '.join(missing)}" if missing else None


def convert_command(engine: Engine, setting: Setting) -> list[str] | None:
    """A process that converts the model to what the engine reads; None where it reads the model as it is."""
    modules = {"openvino": "benches.openvino_conversion", "sdcpp": "benches.sdcpp_conversion"}
    if engine.library not in modules:
        return None
    return _python(modules[engine.library], setting.model.folder, setting.cache)


def worker_command(engine: Engine, setting: Setting) -> list[str]:
    """A process that keeps the model loaded and computes parts of it when told to."""
    model = setting.model
    return _python("benches.worker", engine.name, model.folder, model.steps, model.guidance, setting.cache)


def picture_command(engine: Engine, setting: Setting, steps: int, output: Path) -> list[str]:
    """A process that starts cold, draws one picture and saves it."""
    model = setting.model
    if engine.library not in ("native", "candle"):
        return _python("benches.draw", engine.name, model.folder, steps, model.guidance, setting.cache, output)
    options = {
        "--model": model.folder,
        "--engine": engine.library,
        "--device": "cpu",
        "--dtype": engine.dtype,
        "--scheduler": "ddim",
        "--steps": steps,
        "--guidance": model.guidance,
        "--seed": SEED,
        "--output": output,
    }
    return _python("sd_rbee", "generate", PROMPT, "--quiet", *(each for option in options.items() for each in option))


def _python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]
