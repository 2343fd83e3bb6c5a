"""The trained parts as one f16 diffusers folder with its notices, laid out like the shipped one."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch

from tools.pollen import layout, networks, tokenizer
from tools.pollen.errors import RecipeError
from tools.pollen.files import whole
from tools.pollen.settings import SHIPPED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tools.pollen.kinds import Network
    from tools.pollen.settings import Settings

# What the shipped weights draw best with; the program's defaults come from here.
GENERATION = {"num_inference_steps": 20, "guidance_scale": 3.5}
NOTICE = "NOTICE"
# Written by the libraries into what was read from a folder, and of no use to anybody else.
PRIVATE_KEYS = ("_name_or_path",)


def run(settings: Settings) -> dict[str, Any]:
    """Write the folder `model`."""
    parts: dict[str, Network] = {
        "text_encoder": networks.read_text_encoder(settings.denoiser / "text_encoder"),
        "unet": networks.read_unet(settings.denoiser / "unet"),
        "vae": networks.read_vae(settings.vae),
    }
    scheduler = networks.new_scheduler()
    with whole(settings.model) as draft:
        for name, network in parts.items():
            halve(name, network)
            network.save_pretrained(draft / name)
        scheduler.save_pretrained(draft / "scheduler")
        tokenizer.copy(settings.tokenizer, draft / "tokenizer")
        write_json(draft / "model_index.json", index(parts | {"scheduler": scheduler}))
        write_json(draft / "generation_config.json", GENERATION)
        # The licences of what was learned from ask for their notices to stay with the weights.
        shutil.copyfile(SHIPPED / NOTICE, draft / NOTICE)
        for path in draft.rglob("*.json"):
            forget_origin(path)
    size = sum(path.stat().st_size for path in settings.model.rglob("*") if path.is_file())
    return {
        "MB": round(size / 1e6, 1),
        "differences from the shipped layout": layout.differences(settings.model, SHIPPED),
    }


def halve(name: str, network: Network) -> None:
    """Make the network f16, in place.

    Raises:
        RecipeError: A value is too large for f16, or was not finite before.
    """
    network.half()
    for tensor, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise RecipeError(f"{name}: {tensor} has values that f16 cannot hold")


def index(parts: Mapping[str, object]) -> dict[str, Any]:
    """Return `model_index.json` of a pipeline without a safety checker."""
    classes: dict[str, Any] = {
        name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()
    }
    classes["tokenizer"] = ["transformers", "CLIPTokenizer"]
    absent: dict[str, Any] = {name: [None, None] for name in ("feature_extractor", "image_encoder", "safety_checker")}
    head: dict[str, Any] = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": networks.diffusers.__version__,
        "requires_safety_checker": False,
    }
    entries = head | classes | absent
    return {name: entries[name] for name in sorted(entries)}


def forget_origin(path: Path) -> None:
    """Take out of a JSON object what says where on this machine it was read from."""
    contents = json.loads(path.read_text("utf-8"))
    if any(key in contents for key in PRIVATE_KEYS):
        write_json(path, {key: value for key, value in contents.items() if key not in PRIVATE_KEYS})


def write_json(path: Path, contents: dict[str, Any]) -> None:
    """Write an object, two spaces deep, with a final newline."""
    path.write_text(json.dumps(contents, indent=2) + "\n", "utf-8")
