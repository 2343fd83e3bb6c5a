"""`sd-rbee verify`."""

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from sd_rbee.cli.options import debug_option, model_options

if TYPE_CHECKING:
    from sd_rbee.verify import Check


@click.command()
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
@click.pass_context
def verify(context: click.Context, model: str, device: str, dtype: str, num_threads: int | None, as_json: bool) -> None:
    """Compare the native engine with the candle reference engine, part by part.

    Exits with 1 if a part is further off than its tolerance.
    """
    from sd_rbee.verify import verify as compare_engines

    checks = []
    for check in compare_engines(model, device=device, dtype=dtype, num_threads=num_threads):
        checks.append(check)
        click.echo(f"{check.part}, {check.case}: {check.relative_rms:.1e}", err=True)
    passed = all(check.passed for check in checks)
    if as_json:
        rows = [{**dataclasses.asdict(check), "passed": check.passed} for check in checks]
        click.echo(json.dumps({"passed": passed, "checks": rows}))
    else:
        _print_table(checks)
    context.exit(0 if passed else 1)


def _print_table(checks: "list[Check]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "case", "relative RMS", "max abs", "tolerance", "verdict")
    for check in checks:
        verdict = "[green]ok[/]" if check.passed else "[red]too far[/]"
        figures = (f"{value:.1e}" for value in (check.relative_rms, check.max_abs, check.tolerance))
        table.add_row(check.part, check.case, *figures, verdict)
    Console().print(table)
