"""Networks of tiny models with random weights."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tools.goldens.checkpoints import CHECKPOINTS, mean_magnitude
from tools.goldens.networks import add
from tools.goldens.store import Golden
from tools.random_checkpoint import CheckpointConfig, write_checkpoint
from tools.reference import networks


def make() -> Golden:
    """Each case is one forward; its arrays hold values from all over the output."""
    return make_of(CHECKPOINTS)


def make_of(checkpoints: Mapping[str, CheckpointConfig]) -> Golden:
    """The same of these models."""
    golden = Golden([], facts={"mean_magnitude": {}})
    for name, config in checkpoints.items():
        with tempfile.TemporaryDirectory() as path:
            folder = write_checkpoint(config, Path(path) / "model")
            golden.facts["mean_magnitude"][name] = mean_magnitude(folder, config)
            add(golden, networks.Networks(folder), folder, name)
    return golden
