"""Fixtures that all tests share."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from mock_hub import Hub, mock_hub
from sd_rbee import models
from sd_rbee.backend import native
from tools.goldens.store import Golden, load

# What is tested must not depend on models of the machine's, nor on the network, nor tell anybody a token.
for variable in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
    os.environ.pop(variable, None)
os.environ |= {"HF_HOME": f"{tempfile.gettempdir()}/no-models-of-sd-rbee", "HF_HUB_OFFLINE": "1"}
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


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub of the test's own."""
    with mock_hub() as running:
        yield running
