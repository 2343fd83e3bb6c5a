"""Progress of a generation on stderr: a live bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sd_rbee.backend import Step

OnStep = Callable[["Step"], None]
_SECONDS_BETWEEN_LINES = 2.0


@contextmanager
def reporter(*, quiet: bool) -> Iterator[OnStep | None]:
    """What to call with each step while the context is open; None when nothing is to be said."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as on_step:
            yield on_step
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[OnStep]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:>7}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("load", total=None, left="")

        def on_step(step: "Step") -> None:
            left = "" if step.eta is None else f"{step.eta:.0f} s left"
            progress.update(task, description=step.phase, completed=step.step, total=step.total, left=left)

        yield on_step


def _lines() -> OnStep:
    last = time.monotonic()

    def on_step(step: "Step") -> None:
        nonlocal last
        now = time.monotonic()
        if step.step == step.total or now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            left = "" if step.eta is None else f", {step.eta:.1f} s left"
            click.echo(f"{step.phase} {step.step}/{step.total}, {step.elapsed:.1f} s{left}", err=True)

    return on_step
