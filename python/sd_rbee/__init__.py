"""Stable Diffusion without PyTorch.

    import sd_rbee

    sd_rbee.generate("a robot").save("robot.png")

Names are imported when they are first used, so that importing the package costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sd_rbee.backend import CancelToken, Step
    from sd_rbee.errors import (
        Cancelled,
        ChangedImageWarning,
        CheckpointError,
        DeviceError,
        DownloadError,
        HiveError,
        IneffectiveParameterWarning,
        InferenceError,
        InvalidParamsError,
        ModelNotFoundError,
        OutOfMemoryError,
        SdRbeeError,
        TruncatedPromptWarning,
    )
    from sd_rbee.events import Complete, Event, Progress, Started
    from sd_rbee.loaded import generate
    from sd_rbee.pipeline import Pipeline
    from sd_rbee.result import GenerationResult

    __version__: str

__all__ = [
    "CancelToken",
    "Cancelled",
    "ChangedImageWarning",
    "CheckpointError",
    "Complete",
    "DeviceError",
    "DownloadError",
    "Event",
    "GenerationResult",
    "HiveError",
    "IneffectiveParameterWarning",
    "InferenceError",
    "InvalidParamsError",
    "ModelNotFoundError",
    "OutOfMemoryError",
    "Pipeline",
    "Progress",
    "SdRbeeError",
    "Started",
    "Step",
    "TruncatedPromptWarning",
    "__version__",
    "generate",
]

_MODULES = {
    "backend": ["CancelToken", "Step"],
    "errors": [
        "Cancelled",
        "ChangedImageWarning",
        "CheckpointError",
        "DeviceError",
        "DownloadError",
        "IneffectiveParameterWarning",
        "HiveError",
        "InferenceError",
        "InvalidParamsError",
        "ModelNotFoundError",
        "OutOfMemoryError",
        "SdRbeeError",
        "TruncatedPromptWarning",
    ],
    "events": ["Complete", "Event", "Progress", "Started"],
    "loaded": ["generate"],
    "pipeline": ["Pipeline"],
    "result": ["GenerationResult"],
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = importlib.import_module("importlib.metadata").version("sd-rbee")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
