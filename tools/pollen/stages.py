"""The stages in their order, what each builds on, and which are done."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.pollen.files import remove
from tools.pollen.report import read_record, say, tell, write_record

if TYPE_CHECKING:
    from pathlib import Path

    from tools.pollen.settings import Settings


@dataclass(frozen=True)
class Stage:
    """One step of the recipe.

    Attributes:
        name: What it is called on the command line.
        module: Module of this package whose `run` does it; imported only then, since some need torch.
        needs: Stages whose outputs it reads.
        asks: Settings that its output depends on.
    """

    name: str
    module: str
    needs: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()

    def record(self, work: Path) -> Path:
        """Return the file whose presence says that the stage is done."""
        return work / "records" / f"{self.name}.json"


STAGES = (
    Stage("download", "download"),
    Stage("pictures", "pictures", ("download",)),
    Stage("captions", "scenes", ("download",), ("pairs", "seed")),
    Stage("tokenizer", "tokenizer", ("captions",), ("start",)),
    Stage(
        "vae",
        "vae",
        ("pictures",),
        ("start", "minutes_vae", "steps_vae", "rate_vae", "freeze_encoder", "seed"),
    ),
    Stage("latents", "latents", ("vae", "pictures", "captions")),
    Stage(
        "denoiser",
        "denoiser",
        ("latents", "captions", "tokenizer"),
        ("start", "minutes_unet", "steps_unet", "rate_unet", "unet_channels", "batch", "seed"),
    ),
    Stage("export", "export", ("denoiser", "vae", "tokenizer")),
    Stage("sample", "sample", ("export",), ("prompts", "seed")),
)
NAMES = tuple(stage.name for stage in STAGES)


def run(name: str, settings: Settings, force: bool) -> None:
    """Do a stage and what it needs, or all of them; what is done already is left as it is.

    Args:
        name: A stage, or `all`.
        settings: What is asked for.
        force: Do the named stage, or all, again. What builds on it is undone, and done again when it is asked for.
    """
    if force:
        for stage in STAGES:
            if name in ("all", stage.name):
                undo(stage, settings.work)
    wanted = set(NAMES) if name == "all" else {name, *_below(name)}
    for stage in STAGES:
        if stage.name in wanted:
            _do(stage, settings)
    if name in ("all", STAGES[-1].name):
        summarise(settings.work)


def undo(stage: Stage, work: Path) -> None:
    """Take back that a stage and everything that builds on it is done."""
    for other in STAGES:
        if other is stage or stage.name in _below(other.name):
            remove(other.record(work))
            remove(work / f"{other.name}.checkpoint.pt")


def summarise(work: Path) -> None:
    """Print every stage's figures."""
    for stage in STAGES:
        if stage.record(work).is_file():
            say(f"report: {stage.name}: {tell(read_record(stage.record(work))['figures'])}")


def _do(stage: Stage, settings: Settings) -> None:
    record = stage.record(settings.work)
    asked = {name: _plain(getattr(settings, name)) for name in stage.asks}
    if record.is_file():
        before = read_record(record)["asked"]
        changed = [f"{name} {before.get(name)}, not {asked[name]}" for name in asked if before.get(name) != asked[name]]
        note = f" (with {'; '.join(changed)}: --force does it again)" if changed else ""
        say(f"{stage.name}: done before{note}")
        return
    say(f"{stage.name}: begins")
    figures = importlib.import_module(f"tools.pollen.{stage.module}").run(settings)
    write_record(record, asked, figures)
    say(f"{stage.name}: {tell(figures)}")


def _below(name: str) -> set[str]:
    needs = next(stage.needs for stage in STAGES if stage.name == name)
    return {*needs, *(each for need in needs for each in _below(need))}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
