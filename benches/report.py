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

from benches.engines import ENGINES, Setting
from benches.samples import Comparison, Side
from sd_rbee.backend import native

_PACKAGES = ("sd-rbee", "torch", "diffusers", "transformers", "openvino", "stable-diffusion-cpp-python")


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
        "instruction_set": native.instruction_set(),
    }


def print_json(about: dict[str, object], comparisons: Sequence[Comparison], skipped: Sequence[str]) -> None:
    rows = [comparison.as_json() for comparison in comparisons]
    print(json.dumps({"environment": about, "comparisons": rows, "skipped": list(skipped)}, indent=2))


def print_markdown(about: dict[str, object], comparisons: Sequence[Comparison], skipped: Sequence[str]) -> None:
    """A table in Markdown: medians, ratios with their spread, shares of the peak."""
    print(f"{headline(about)}  \n{_subject(about, comparisons)}\n")
    print("| part | ours | against | ours takes | the other | ratio | from - to | of peak | the other | apart |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for each in comparisons:
        (_, native, native_share), (_, other, other_share) = _both(each)
        against = each.other.engine if each.other else ""
        cells = (each.part, each.native.engine, against, native, other, *_ratio(each), native_share, other_share)
        print(f"| {' | '.join((*cells, _apart(each)))} |")
    for line in (*skipped, *warnings(about)):
        print(f"\n{line}")


def print_table(about: dict[str, object], comparisons: Sequence[Comparison], skipped: Sequence[str]) -> None:
    table = Table("part", "engine", "against")
    for heading in ("min", "median", "peak", "other min", "median", "peak", "ratio", "from - to", "apart"):
        table.add_column(heading, justify="right")
    for each in comparisons:
        native, other = _both(each)
        against = each.other.engine if each.other else ""
        table.add_row(each.part, each.native.engine, against, *native, *other, *_ratio(each), _apart(each))
    console = Console()
    if not console.is_terminal:
        # What is piped away is read elsewhere: no figure is cut to a width that nobody has.
        console.width = 200
    console.print(headline(about), highlight=False)
    console.print(_subject(about, comparisons), highlight=False)
    console.print(table)
    for line in (*skipped, *warnings(about)):
        console.print(line, highlight=False, markup=False)


def warnings(about: dict[str, object]) -> list[str]:
    """What speaks against the figures."""
    load, threads = about["load_average"], about["threads"]
    if isinstance(load, float) and isinstance(threads, int) and load > threads / 2:
        return [f"The machine was busy when this began (load average {load:.1f}): take nothing from it."]
    return []


def headline(about: dict[str, object]) -> str:
    """What computed: processor, instructions, threads, versions."""
    packages = about["packages"]
    assert isinstance(packages, dict)
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    return f"{about['cpu']}, {about['instruction_set']}, {about['threads']} threads; {versions}"


def _subject(about: dict[str, object], comparisons: Sequence[Comparison]) -> str:
    return f"{about['model']}, {about['steps']} steps a picture; peak {_peaks(comparisons)}"


def _both(comparison: Comparison) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    other = _cells(comparison, comparison.other) if comparison.other else ("", "", "")
    return _cells(comparison, comparison.native), other


def _ratio(comparison: Comparison) -> tuple[str, str]:
    """The median and the spread."""
    ratios = comparison.ratios
    return (f"{median(ratios):.2f}", f"{min(ratios):.2f} - {max(ratios):.2f}") if ratios else ("", "")


def _apart(comparison: Comparison) -> str:
    return "" if comparison.apart is None else f"{comparison.apart:.0e}"


def _cells(comparison: Comparison, side: Side) -> tuple[str, str, str]:
    """The best, the median, and the share of the machine's peak."""
    share = comparison.share(side)
    best, middle = (figure(value, comparison.unit) for value in (min(side.samples), median(side.samples)))
    return best, middle, "" if share is None else f"{100 * share:.0f} %"


def _peaks(comparisons: Sequence[Comparison]) -> str:
    """The most that any probe found, by dtype."""
    peaks: dict[str, float] = {}
    for side in (side for each in comparisons for side in each.sides if side.peak):
        dtype = ENGINES[side.engine].dtype
        peaks[dtype] = max(peaks.get(dtype, 0.0), side.peak or 0.0)
    return ", ".join(f"{peak / 1e9:.0f} GFLOP/s in {dtype}" for dtype, peak in sorted(peaks.items())) or "not probed"


def figure(value: float, unit: str) -> str:
    if unit == "MB":
        return f"{value:.0f} MB"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
