"""Which pictures are learned from: every thing sixteen times, then pairs, each scene with its captions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from tools.pollen import captions, things
from tools.pollen.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from tools.pollen.settings import Settings
    from tools.pollen.things import Thing

SIZE = 128
HALF = SIZE // 2
PLAIN_VIEWS = 5
SMALLEST = 108
SMALLEST_OF_PAIR = 56
PAIR_JITTER = 6
PLAIN_PAIRS = 0.7


@dataclass(frozen=True)
class Placed:
    """A thing in a scene.

    Attributes:
        thing: Index into the list of things.
        x: Left edge in pixels.
        y: Upper edge in pixels.
        size: Width and height in pixels.
    """

    thing: int
    x: int
    y: int
    size: int


@dataclass(frozen=True)
class Scene:
    """One picture to learn from.

    Attributes:
        placed: One thing, or two from left to right.
        colour: Background; a key of `captions.COLOURS`.
        captions: What may be said about it.
    """

    placed: tuple[Placed, ...]
    colour: str
    captions: tuple[str, ...]


def run(settings: Settings) -> dict[str, Any]:
    """Write `scenes.json`."""
    chosen = things.load(settings.raw / "en" / "data.json")
    scenes = singles(chosen, Random(settings.seed)) + pairs(chosen, settings.pairs, Random(settings.seed + 1))
    write_text(settings.scenes, json.dumps([asdict(scene) for scene in scenes], ensure_ascii=False))
    said = {caption for scene in scenes for caption in scene.captions}
    return {"things": len(chosen), "scenes": len(scenes), "captions": len(said)}


def load(path: Path) -> list[Scene]:
    """Read `scenes.json`."""
    return [
        Scene(tuple(Placed(**placed) for placed in entry["placed"]), entry["colour"], tuple(entry["captions"]))
        for entry in json.loads(path.read_text("utf-8"))
    ]


def singles(chosen: tuple[Thing, ...], random: Random) -> list[Scene]:
    """Show every thing five times on white and once on each other colour, slightly moved and scaled."""
    colours = [captions.PLAIN] * PLAIN_VIEWS + [colour for colour in captions.COLOURS if colour != captions.PLAIN]
    scenes = []
    for at, thing in enumerate(chosen):
        for view, colour in enumerate(colours):
            # The first view is the thing as large as it gets: what most prompts should give.
            size = SIZE if view == 0 else random.randint(SMALLEST, SIZE)
            placed = Placed(at, random.randint(0, SIZE - size), random.randint(0, SIZE - size), size)
            scenes.append(Scene((placed,), colour, tuple(captions.of_thing(thing, colour, random))))
    return scenes


def pairs(chosen: tuple[Thing, ...], count: int, random: Random) -> list[Scene]:
    """Show two different things side by side, all things about equally often.

    Args:
        chosen: At least two things.
        count: How many scenes.
        random: Where all choices come from.
    """
    coloured = [colour for colour in captions.COLOURS if colour != captions.PLAIN]
    scenes: list[Scene] = []
    waiting: list[int] = []
    while len(scenes) < count:
        if len(waiting) < 2:
            fresh = random.sample(range(len(chosen)), len(chosen))
            if waiting and fresh[0] == waiting[0]:
                # The one left over from the last round must not meet itself.
                fresh[0], fresh[-1] = fresh[-1], fresh[0]
            waiting += fresh
        left, right = waiting.pop(0), waiting.pop(0)
        colour = captions.PLAIN if random.random() < PLAIN_PAIRS else random.choice(coloured)
        placed = (_in_half(left, 0, random), _in_half(right, HALF, random))
        said = captions.of_pair(chosen[left], chosen[right], colour, random)
        scenes.append(Scene(placed, colour, tuple(said)))
    return scenes


def _in_half(thing: int, edge: int, random: Random) -> Placed:
    size = random.randint(SMALLEST_OF_PAIR, HALF)
    y = (SIZE - size) // 2 + random.randint(-PAIR_JITTER, PAIR_JITTER)
    return Placed(thing, edge + random.randint(0, HALF - size), y, size)
