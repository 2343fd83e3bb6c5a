"""`sd-rbee models`."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from sd_rbee import models as names
from sd_rbee.cli.downloads import reporter, size
from sd_rbee.cli.options import debug_option


@dataclass(frozen=True, slots=True)
class _Row:
    """A model at hand.

    Attributes:
        alias: The name that it has here, if any.
        id: Owner and name, revision and file at the hub; None for an embedded model.
        commit: Which it is pinned to.
        kind: Its class in diffusers.
        size: In bytes.
        files: How many files it has.
        path: Where it is.
        damages: What is wrong, by file, as far as it was looked at.
    """

    alias: str | None
    id: str | None
    commit: str | None
    kind: str | None
    size: int
    files: int
    path: str
    damages: dict[str, str]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Read all files that were pulled, and compare them with their hashes.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@debug_option
def models(as_json: bool, verify: bool, quiet: bool) -> int:
    """List the models at hand, and those that `sd-rbee pull` has a name for."""
    rows = [*_embedded(), *_pulled(verify=verify, quiet=quiet)]
    at_hand = {row.alias for row in rows}
    to_pull = {alias: repo for alias, repo in names.HUB_ALIASES.items() if alias not in at_hand}
    if as_json:
        click.echo(json.dumps({"models": [asdict(row) for row in rows], "to_pull": to_pull}))
    else:
        _print(rows, to_pull)
    for row in rows:
        for file, damage in row.damages.items():
            click.echo(f"sd-rbee: {row.id}: {file} {damage}; `sd-rbee pull {row.id}` mends it", err=True)
    return 3 if any(row.damages for row in rows) else 0


def _embedded() -> Iterator[_Row]:
    for alias, folder in names.available().items():
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        yield _Row(alias, None, None, names.kind(folder), sum(sizes), len(sizes), str(folder), {})


def _pulled(*, verify: bool, quiet: bool) -> Iterator[_Row]:
    from sd_rbee.hub import lock
    from sd_rbee.hub.verify import damages

    aliases = {repo: alias for alias, repo in names.HUB_ALIASES.items()}
    with reporter(quiet=quiet) as on_progress:
        for pull in lock.all_pulls():
            said = str(pull.reference)
            yield _Row(
                alias=aliases.get(said),
                id=said,
                commit=pull.commit,
                kind=names.kind(pull.path),
                size=pull.size,
                files=len(pull.files),
                path=str(pull.path),
                damages=damages(pull, on_progress, sizes_only=not verify),
            )


def _print(rows: list[_Row], to_pull: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("alias", "id", "commit", "kind")
    for heading in ("size", "files"):
        table.add_column(heading, justify="right")
    for row in rows:
        commit = "" if row.commit is None else row.commit[:12]
        state = " (damaged)" if row.damages else ""
        columns = (row.alias or "", (row.id or "embedded") + state, commit, row.kind or "one file")
        table.add_row(*columns, size(row.size), f"{row.files}")
    console = Console()
    if not console.is_terminal:
        # What is piped away is read elsewhere: no name is cut to a width that nobody has.
        console.width = 200
    console.print(table)
    if to_pull:
        width = max(map(len, to_pull))
        click.echo("to pull:")
        for alias, repo in to_pull.items():
            click.echo(f"  {alias:<{width}}  {repo}")
