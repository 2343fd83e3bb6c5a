"""`sd-rbee bench`."""

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from sd_rbee.cli.options import debug_option

if TYPE_CHECKING:
    from sd_rbee.bench import Machine, Measurement, Timing

# For each dtype: long enough for one round that nothing disturbs.
_PROBE = 0.3


@click.command()
@click.option(
    "--model",
    "names",
    metavar="MODEL",
    multiple=True,
    help="An alias, a folder, an id of the hub that was pulled, or v1-5, v2-1 or xl with random weights; may be "
    "repeated. Default: those at hand, and v1-5.",
)
@click.option("--device", metavar="DEVICE", default="auto", show_default=True, help="cpu, cuda:0, metal:0 …")
@click.option("--dtype", metavar="TYPE", default="auto", show_default=True, help="f32, f16, bf16 or int8.")
@click.option("--threads", "num_threads", type=int, metavar="N", help="On the CPU; default: all that may be used.")
@click.option("--seconds", type=float, metavar="S", default=5.0, show_default=True, help="For each part of a model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def bench(
    names: tuple[str, ...], device: str, dtype: str, num_threads: int | None, seconds: float, as_json: bool
) -> None:
    """Measure this machine: its peak, and how long a step and a decode take.

    Nothing is downloaded or written. The figures of another machine, or of this one when it is busy, are others.
    """
    from sd_rbee.bench import default_models, measure, probe

    click.echo("peak", err=True)
    machine = probe(_PROBE, num_threads=num_threads)
    measurements = []
    for name in names or default_models():
        click.echo(name, err=True)
        measurements.append(measure(name, machine, device=device, dtype=dtype, seconds=seconds))
    if as_json:
        rows = [dataclasses.asdict(measurement) for measurement in measurements]
        click.echo(json.dumps({"machine": dataclasses.asdict(machine), "models": rows}))
    else:
        _print_table(machine, measurements)


def _print_table(machine: "Machine", measurements: "list[Measurement]") -> None:
    from rich.console import Console
    from rich.table import Table

    peaks = ", ".join(f"{peak / 1e9:.0f} GFLOP/s in {dtype}" for dtype, peak in machine.peak_flops.items())
    click.echo(f"{machine.instruction_set}, {machine.num_threads} threads, peak {peaks}")
    table = Table("model", "on", "size")
    for heading in ("load", "guided step", "of peak", "decode", "of peak", "weights", "process"):
        table.add_column(heading, justify="right")
    for each in measurements:
        peak = "" if each.peak_bytes is None else f"{each.peak_bytes / 1e6:.0f} MB"
        table.add_row(
            f"{each.model}, random weights" if each.is_random else each.model,
            f"{each.device} {each.dtype}",
            f"{each.width} x {each.height}",
            _seconds(each.load_seconds),
            *_cells(each.step),
            *_cells(each.decode),
            f"{each.weights_bytes / 1e6:.0f} MB",
            peak,
        )
    console = Console()
    if not console.is_terminal:
        # What is piped away is read elsewhere: no figure is cut to a width that nobody has.
        console.width = 160
    console.print(table)


def _cells(timing: "Timing") -> tuple[str, str]:
    return _seconds(timing.seconds), "" if timing.share is None else f"{100 * timing.share:.0f} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
