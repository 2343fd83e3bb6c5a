"""The seeds of a run: `SD_RBEE_PARITY_SEED` moves all of them, and each is in the name of its test."""

import os
import random

BASE = int(os.environ.get("SD_RBEE_PARITY_SEED", "0"))


def seeds(count: int) -> list[int]:
    """`count` seeds that other bases have not."""
    return [1000 * BASE + number for number in range(count)]


def draw(seed: int, topic: str) -> random.Random:
    """A generator for one topic of one seed."""
    return random.Random(f"{topic} {seed}")
