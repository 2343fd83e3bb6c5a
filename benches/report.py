"""A run's figures, for people and for programs."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benches.engines import Setting
from benches.samples import Comparison

_PACKAGES = ("sd-rbee", "torch", "diffusers", "transformers")


def environment(setting: Setting) -> dict[str, object]:
    """What the figures depend on."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "cpu": _cpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
        "threads": setting.threads,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "model": setting.model.name,
        "steps": setting.model.steps,
        "dtype": "f32",
    }


def print_json(about: dict[str, object], comparisons: Sequence[Comparison], skipped: Sequence[str]) -> None:
    rows = [comparison.as_json() for comparison in comparisons]
    print(json.dumps({"environment": about, "comparisons": rows, "skipped": list(skipped)}, indent=2))


def print_table(about: dict[str, object], comparisons: Sequence[Comparison], skipped: Sequence[str]) -> None:
    table = Table("part", "against")
    for heading in ("native min", "median", "other min", "median", "ratio", "from - to", "apart"):
        table.add_column(heading, justify="right")
    for each in comparisons:
        native = _cells(each.native, each.unit)
        other = _cells(each.other, each.unit) if each.against else ("", "")
        ratios = each.ratios
        ratio = (f"{median(ratios):.2f}", f"{min(ratios):.2f} - {max(ratios):.2f}") if ratios else ("", "")
        apart = "" if each.apart is None else f"{each.apart:.0e}"
        table.add_row(each.part, each.against or "", *native, *other, *ratio, apart)
    console = Console()
    if not console.is_terminal:
        # What is piped away is read elsewhere: no figure is cut to a width that nobody has.
        console.width = 160
    print_about(console, about)
    console.print(f"{about['model']}, {about['steps']} steps a picture, f32", highlight=False)
    console.print(table)
    for line in skipped:
        console.print(line, highlight=False, markup=False)
    print_load(console, about)


def print_about(console: Console, about: dict[str, object]) -> None:
    packages = about["packages"]
    assert isinstance(packages, dict)
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    console.print(f"{about['cpu']}, {about['threads']} threads; {versions}", highlight=False)


def print_load(console: Console, about: dict[str, object]) -> None:
    load, threads = about["load_average"], about["threads"]
    if isinstance(load, float) and isinstance(threads, int) and load > threads / 2:
        console.print(f"The machine was busy when this began (load average {load:.1f}): take nothing from it.")


def _cells(samples: list[float], unit: str) -> tuple[str, str]:
    return figure(min(samples), unit), figure(median(samples), unit)


def figure(value: float, unit: str) -> str:
    if unit == "MB":
        return f"{value:.0f} MB"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
