"""The hand-chosen things: their names, and the tags that emojibase gives them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.pollen.errors import RecipeError
from tools.pollen.settings import HERE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHOICE = HERE / "things.json"
HEXCODE = re.compile(r"[0-9a-f]+(-[0-9a-f]+)*")
# Whether this selector is written depends on who writes the code point sequence.
PRESENTATION = "-fe0f"


@dataclass(frozen=True)
class Thing:
    """One thing that pollen can draw.

    Attributes:
        hexcode: Its code points in lower-case hexadecimal, joined by `-`; the picture's file name.
        label: Its official name.
        aliases: Everyday names.
        tags: Words that people look for it by; empty until annotations are read.
    """

    hexcode: str
    label: str
    aliases: tuple[str, ...]
    tags: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The official name, then the everyday ones that differ from it."""
        return (self.label, *(alias for alias in self.aliases if alias != self.label))


def read_choice(path: Path = CHOICE) -> tuple[Thing, ...]:
    """Read the list of things, without tags.

    Raises:
        RecipeError: An entry has a missing, unexpected or misshapen field, or a hexcode comes twice.
    """
    things = tuple(_thing(entry, f"{path}[{at}]") for at, entry in enumerate(json.loads(path.read_text("utf-8"))))
    seen: set[str] = set()
    for thing in things:
        if thing.hexcode in seen:
            raise RecipeError(f"{path}: hexcode {thing.hexcode} comes twice")
        seen.add(thing.hexcode)
    return things


def with_tags(things: tuple[Thing, ...], annotations: list[dict[str, Any]]) -> tuple[Thing, ...]:
    """Give every thing its tags.

    Args:
        things: The things.
        annotations: emojibase's `data.json`; `skins` hold further entries.

    Raises:
        RecipeError: A thing has no annotation.
    """
    tags: dict[str, tuple[str, ...]] = {}
    for entry in annotations:
        for each in (entry, *entry.get("skins", ())):
            tags[_bare(each["hexcode"])] = tuple(each.get("tags", ()))
    return tuple(_tagged(thing, tags) for thing in things)


def load(annotations: Path, choice: Path = CHOICE) -> tuple[Thing, ...]:
    """Read the things and their tags from the two files."""
    return with_tags(read_choice(choice), json.loads(annotations.read_text("utf-8")))


def _tagged(thing: Thing, tags: Mapping[str, tuple[str, ...]]) -> Thing:
    if (found := tags.get(_bare(thing.hexcode))) is None:
        raise RecipeError(f"the annotations have no entry for {thing.hexcode} ({thing.label})")
    return Thing(thing.hexcode, thing.label, thing.aliases, found)


def _bare(hexcode: str) -> str:
    return hexcode.lower().replace(PRESENTATION, "")


def _thing(entry: object, where: str) -> Thing:
    if not isinstance(entry, dict) or set(entry) != {"hexcode", "label", "aliases"}:
        raise RecipeError(f"{where}: allowed is an object of hexcode, label and aliases, given was {entry!r}")
    hexcode, label, aliases = entry["hexcode"], entry["label"], entry["aliases"]
    if not isinstance(hexcode, str) or not HEXCODE.fullmatch(hexcode):
        raise RecipeError(f"{where}: hexcode {hexcode!r}, allowed are lower-case hexadecimal code points joined by '-'")
    if not isinstance(label, str) or not label.strip():
        raise RecipeError(f"{where}: label {label!r}, allowed is text")
    if not isinstance(aliases, list) or not all(isinstance(alias, str) and alias.strip() for alias in aliases):
        raise RecipeError(f"{where}: aliases {aliases!r}, allowed is a list of texts")
    return Thing(hexcode, label, tuple(aliases))
