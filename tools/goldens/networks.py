"""The networks of the embedded model."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from sd_rbee import models
from tools.goldens.digest import digest
from tools.goldens.network_cases import Networks, cases, rms, run, sample
from tools.goldens.store import Golden
from tools.reference import networks


def make() -> Golden:
    """Each case is one forward; its arrays hold values from all over the output."""
    folder = models.resolve("pollen")
    golden = Golden([], facts={"pollen": digest(folder)})
    add(golden, networks.Networks(folder), folder, "pollen")
    return golden


def add(golden: Golden, model: Networks, folder: Path, name: str) -> None:
    """Adds the cases of the model in `folder`."""
    unet, vae, text = (_config(folder / part) for part in ("unet", "vae", "text_encoder"))
    made = cases(
        name,
        in_channels=unet["in_channels"],
        latent_channels=vae["latent_channels"],
        factor=2 ** (len(vae["block_out_channels"]) - 1),
        tokens=text["max_position_embeddings"],
        width=text["hidden_size"],
    )
    for case in made:
        values = run(model, case)
        number = len(golden.cases)
        golden.arrays[str(number)] = sample(values).astype(np.float32)
        golden.cases.append({**case, "output_shape": values.shape, "rms": rms(values)})


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config
