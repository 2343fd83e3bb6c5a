"""The choice of the native extension; no other module imports one.

`SD_RBEE_BACKEND` asks for one extension: `cpu` is in this package, `cuda13` is the distribution `sd-rbee-cuda13`. A
backend that was asked for is never replaced by another. Without the variable, an installed plug-in of this very
version is taken if it loads, else `cpu`.
"""

import importlib
import importlib.metadata
import importlib.util
import logging
import os
from types import ModuleType
from typing import TYPE_CHECKING

from sd_rbee.errors import DeviceError

__all__ = ["CancelToken", "Step", "name", "native"]

_PLUGINS = {"cuda13": "sd_rbee_cuda13"}
_log = logging.getLogger("sd_rbee")


def _load_plugin(name: str) -> ModuleType:
    package = _PLUGINS[name]
    distribution = package.replace("_", "-")
    if importlib.util.find_spec(package) is None:
        raise DeviceError(f'backend {name} is not installed: pip install "sd-rbee[{name.rstrip("0123456789")}]"')
    try:
        ours, theirs = importlib.metadata.version("sd-rbee"), importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise DeviceError(f"backend {name}: {error.name} has no version, install it with pip") from error
    if ours != theirs:
        raise DeviceError(f"backend {name}: {distribution} is {theirs} but sd-rbee is {ours}; both must be the same")
    try:
        return importlib.import_module(f"{package}._native")
    except ImportError as error:
        raise DeviceError(f"backend {name} cannot be loaded: {error}") from error


def _load() -> tuple[str, ModuleType]:
    wanted = os.environ.get("SD_RBEE_BACKEND", "")
    if wanted in _PLUGINS:
        return wanted, _load_plugin(wanted)
    if wanted not in ("", "cpu"):
        raise DeviceError(f"SD_RBEE_BACKEND: got {wanted[:80]}, allowed is {', '.join(['cpu', *_PLUGINS])}")
    for name, package in _PLUGINS.items():
        if not wanted and importlib.util.find_spec(package) is not None:
            try:
                return name, _load_plugin(name)
            except DeviceError as error:
                _log.warning("%s; taking backend cpu", error)
    return "cpu", importlib.import_module("sd_rbee._native")


if TYPE_CHECKING:
    from sd_rbee import _native as native

    name: str
else:
    name, native = _load()

CancelToken = native.CancelToken
Step = native.Step
