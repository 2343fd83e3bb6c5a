"""`sd-rbee pull`."""

from typing import TYPE_CHECKING

import click

from sd_rbee import models
from sd_rbee.cli.downloads import reporter, size
from sd_rbee.cli.options import debug_option

if TYPE_CHECKING:
    from sd_rbee.hub.reference import Variant


@click.command()
@click.argument("name")
@click.option(
    "--variant",
    type=click.Choice(["auto", "fp16", "none"]),
    help="Which weights: auto takes those in f16 where a component has them, fp16 nothing else, none those without a "
    "variant, mostly f32 and twice as large. f16 is finer than bf16, so that computing in bf16 or int8 loses nothing; "
    "in f32, pictures are those of the rounded weights: take none to compare with diffusers in f32. Where both are "
    "there, those without a variant are loaded. Default: as before, else auto.",
)
@click.option("--update", is_flag=True, help="Move on to what the branch or tag is at now.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@debug_option
def pull(name: str, variant: "Variant | None", update: bool, quiet: bool) -> None:
    """Download a model from the Hugging Face hub and print where it is.

    NAME is an alias (`sd-rbee models` lists them) or owner/name; @REVISION and, for a repository of single files,
    :FILE.safetensors may follow. Only what the engine reads is downloaded, never pickles. Each file is checked against
    the hub's hash. The model stays at its commit until --update; a download that broke off goes on.

    HF_TOKEN, HF_ENDPOINT, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are heard.
    """
    if folder := models.available().get(name):
        click.echo(folder)
        return
    from sd_rbee.errors import ModelNotFoundError
    from sd_rbee.hub import lock
    from sd_rbee.hub.pull import pull as pull_model

    reference = models.hub_reference(name)
    if reference is None:
        aliases = ", ".join(models.HUB_ALIASES)
        raise ModelNotFoundError(f"{name[:200]!r} is neither owner/name of the hub nor an alias ({aliases})")
    before = lock.read(reference.repo).get(reference.key)
    with reporter(quiet=quiet) as on_progress:
        made = pull_model(reference, variant=variant, update=update, on_progress=on_progress)
    if not quiet:
        moved = f", from {before.commit[:12]}" if before and before.commit != made.commit else ""
        said = f"{reference} at {made.commit[:12]}{moved}, {size(made.size)} in {len(made.files)} files"
        click.echo(said, err=True)
        if (at := models.resolve(name)) != made.path:
            click.echo(f"warning: {name} is also a path, which loading it takes: {at}", err=True)
    click.echo(made.path)
