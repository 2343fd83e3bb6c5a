"""The networks of the embedded model."""

from pathlib import Path

import numpy as np

from sd_rbee import models
from tools.goldens.digest import digest
from tools.goldens.network_cases import Networks, folder_cases, run, sample
from tools.goldens.store import Golden
from tools.metrics import rms
from tools.reference import networks


def make() -> Golden:
    """Each case is one forward; its arrays hold values from all over the output."""
    folder = models.resolve("pollen")
    golden = Golden([], facts={"pollen": digest(folder)})
    add(golden, networks.Networks(folder), folder, "pollen")
    return golden


def add(golden: Golden, model: Networks, folder: Path, name: str) -> None:
    """Adds the cases of the model in `folder`."""
    for case in folder_cases(folder, name):
        values = run(model, case)
        number = len(golden.cases)
        golden.arrays[str(number)] = sample(values).astype(np.float32)
        golden.cases.append({**case, "output_shape": values.shape, "rms": rms(values)})
