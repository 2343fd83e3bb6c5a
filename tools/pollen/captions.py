"""What is said about a scene: eight captions, from the bare name to the phrase with a background."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from tools.pollen.things import Thing

# What the shipped weights know, with the colour that each name stands for.
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "red": (214, 60, 70),
    "orange": (245, 150, 60),
    "yellow": (250, 215, 90),
    "green": (95, 175, 95),
    "blue": (80, 130, 230),
    "purple": (150, 100, 210),
    "pink": (248, 165, 195),
    "brown": (145, 100, 70),
    "black": (25, 25, 28),
    "gray": (150, 150, 155),
    "teal": (75, 165, 170),
}
PLAIN = "white"
CAPTIONS = 8
MOST_TAGS = 3

# Written with a vowel or a consonant first, spoken otherwise.
SPOKEN_VOWEL = ("hour", "honest", "heir")
SPOKEN_CONSONANT = ("uni", "ufo", "use", "uku", "eu", "ewe", "one-")
SINGULAR_ENDINGS = ("ss", "us", "is", "os")
# What a thing is comes before these, what it is like after them.
PREPOSITION = re.compile(r" (?:of|with|showing|over|behind|on) ")


def plain(text: str) -> str:
    """Return a text as it would be typed: lower case, straight apostrophes, single spaces."""
    return " ".join(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower().split())


def with_article(name: str) -> str:
    """Return `a name` or `an name`; a plural stays as it is.

    Args:
        name: A name as `plain` gives it.
    """
    head = PREPOSITION.split(name, maxsplit=1)[0]
    if head.endswith("s") and not head.endswith(SINGULAR_ENDINGS):
        return name
    vowel = name[0] in "aeiou" and not name.startswith(SPOKEN_CONSONANT)
    return f"an {name}" if vowel or name.startswith(SPOKEN_VOWEL) else f"a {name}"


def background(colour: str) -> str:
    """Return ` on a blue background`, leading space included."""
    return f" on {with_article(colour)} background"


def of_thing(thing: Thing, colour: str, random: Random) -> list[str]:
    """Say a scene of one thing in eight ways.

    A coloured background is always named: captions that leave it out would teach the model to choose one at will. A
    white one is named now and then, so that it can be asked for.

    Args:
        thing: What is shown.
        colour: A key of `COLOURS`.
        random: Where the choices of names and tags come from.

    Returns:
        `CAPTIONS` texts.
    """
    names = [plain(name) for name in thing.names]
    everyday = names[1:] or names
    official = names[0]
    tags = [plain(tag) for tag in thing.tags]
    captions = [
        official,
        with_article(official),
        with_article(random.choice(everyday)),
        random.choice(everyday),
        with_article(random.choice(names)),
        tagged(official, tags, random),
        tagged(random.choice(names), tags, random),
        f"a 3d icon of {with_article(random.choice(names))}",
    ]
    if colour != PLAIN:
        return [caption + background(colour) for caption in captions]
    named = random.randrange(CAPTIONS)
    return [caption + background(colour) * (at == named) for at, caption in enumerate(captions)]


def tagged(name: str, tags: list[str], random: Random) -> str:
    """Return the name with one to three of the tags that say something else."""
    others = [tag for tag in tags if tag != name]
    if not others:
        return name
    count = min(random.randint(1, MOST_TAGS), len(others))
    return ", ".join([name, *random.sample(others, count)])


def of_pair(left: Thing, right: Thing, colour: str, random: Random) -> list[str]:
    """Say a scene of two things side by side in eight ways.

    Args:
        left: What is shown on the left.
        right: What is shown on the right.
        colour: A key of `COLOURS`.
        random: Where the choices of names come from.

    Returns:
        `CAPTIONS` texts, each with a name of either thing.
    """

    def name(thing: Thing) -> str:
        return plain(random.choice(thing.names))

    def phrase(thing: Thing) -> str:
        return with_article(name(thing))

    suffix = "" if colour == PLAIN else background(colour)
    captions = [
        f"{phrase(left)} and {phrase(right)}",
        f"{phrase(left)} and {phrase(right)}",
        f"{name(left)} and {name(right)}",
        f"{phrase(right)} and {phrase(left)}",
        f"{phrase(left)} next to {phrase(right)}",
        f"{phrase(right)} next to {phrase(left)}",
        f"{phrase(left)} on the left and {phrase(right)} on the right",
        f"{phrase(left)} on the left and {phrase(right)} on the right",
    ]
    return [caption + suffix for caption in captions]
