"""What stages say while they run, and the record that each leaves behind."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tools.pollen.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def say(line: str) -> None:
    """Print a line with the time of day, at once."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def write_record(path: Path, asked: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write what a stage was asked for and what came out; its presence says that the stage is done."""
    write_text(path, json.dumps({"asked": asked, "figures": figures}, indent=2, ensure_ascii=False) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote."""
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return record


def tell(figures: Mapping[str, Any]) -> str:
    """Return figures as one line, `name value, name value`."""
    return ", ".join(f"{name} {value}" for name, value in figures.items())
