"""The names that hives start workers by: `sd-rbee serve`, each for its own kind of device."""

import sys
from typing import NoReturn

from sd_rbee.cli.app import run
from sd_rbee.cli.options import State
from sd_rbee.cli.serve import serve


def any_device() -> NoReturn:
    """`sd-worker-rbee`."""
    sys.exit(run(command=serve, name="sd-worker-rbee"))


def cpu() -> NoReturn:
    """`sd-worker-cpu`."""
    _only("cpu")


def cuda() -> NoReturn:
    """`sd-worker-cuda`."""
    _only("cuda")


def metal() -> NoReturn:
    """`sd-worker-metal`."""
    _only("metal")


def _only(backend: str) -> NoReturn:
    sys.exit(run(command=serve, name=f"sd-worker-{backend}", state=State(backends=(backend,))))
