"""`sd-rbee info`."""

import json
import platform
from typing import Any

import click

from sd_rbee.cli.options import debug_option


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def info(as_json: bool) -> None:
    """Print what this installation and this machine can do."""
    facts = _facts()
    if as_json:
        click.echo(json.dumps(facts))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{alias} ({folder})" for alias, folder in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        click.echo(f"{key.replace('_', ' '):<{width}}  {value or 'none'}")


def _facts() -> dict[str, Any]:
    import sd_rbee
    from sd_rbee import backend, models
    from sd_rbee.hub import lock

    return {
        "version": sd_rbee.__version__,
        "backend": backend.name,
        "features": backend.native.features(),
        "devices": backend.native.devices(),
        "cpu_features": backend.native.cpu_features(),
        "instruction_set": backend.native.instruction_set(),
        "instruction_sets": backend.native.instruction_sets(),
        "schedulers": backend.native.Scheduler.names(),
        "models": {alias: str(folder) for alias, folder in models.available().items()},
        "pulled_models": {str(pull.reference): str(pull.path) for pull in lock.all_pulls()},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
