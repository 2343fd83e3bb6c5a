"""Downloads on stderr: a live bar on a terminal, a line a file elsewhere."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from sd_rbee import models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sd_rbee.hub.progress import OnProgress, Progress


@contextmanager
def reporter(*, quiet: bool) -> "Iterator[OnProgress | None]":
    """What to call with each report while the context is open; None when nothing is to be said."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as on_progress:
            yield on_progress
    else:
        yield _lines()


def fetch(model: str, vae: str | None, *, quiet: bool) -> None:
    """Downloads a model and a VAE that are not at hand.

    Raises:
        ModelNotFoundError: There is no such model, or it did not come.
        CheckpointError: What came cannot be used.
    """
    with reporter(quiet=quiet) as on_progress:
        models.resolve(model, download=True, on_progress=on_progress)
        if vae is not None:
            models.component("vae", vae, download=True, on_progress=on_progress)


def size(count: int) -> str:
    """A number of bytes, for people."""
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= divisor:
            return f"{count / divisor:.1f} {unit}"
    return f"{count} B"


@contextmanager
def _bar() -> "Iterator[OnProgress]":
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description:>8}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[file]}"),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks: dict[tuple[str, str], bars.TaskID] = {}

        def on_progress(progress: "Progress") -> None:
            task = (progress.phase, progress.name)
            if task not in tasks:
                tasks[task] = shown.add_task(progress.phase, total=progress.total, file="")
            shown.update(tasks[task], completed=progress.completed, total=progress.total, file=progress.file)

        yield on_progress


def _lines() -> "OnProgress":
    said: set[tuple[str, str, str]] = set()

    def on_progress(progress: "Progress") -> None:
        line = (progress.phase, progress.name, progress.file)
        if line not in said:
            said.add(line)
            click.echo(
                f"{progress.phase} {progress.file}, {size(progress.completed)} of {size(progress.total)}", err=True
            )

    return on_progress
