"""Fixtures that all tests share."""

import signal
from collections.abc import Callable
from functools import cache

import pytest

from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.store import Golden, load

# A run in the background of a shell ignores Ctrl-C, and its children would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def pollen() -> native.Pipeline:
    """The embedded model, in f32 on the CPU."""
    return native.Pipeline.load(str(models.resolve("pollen")), device="cpu", dtype="f32")


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """Reads the goldens of one part."""
    return cache(load)
