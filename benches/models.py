"""What to measure with: the embedded model, a random checkpoint of a published shape, or a folder."""

import json
import sys
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from sd_rbee import models
from tools.random_checkpoint import PRESETS, write_checkpoint

# Enough for a mean over steps: a full-size model takes half a minute a step in the slowest engine.
_STEPS = 4
_GUIDANCE = 7.5


@dataclass(frozen=True)
class Model:
    """A model and how to draw with it.

    Attributes:
        name: What was asked for.
        folder: Where it is, in diffusers layout.
        steps: Sampling steps of a picture.
        guidance: Guidance scale of a picture.
    """

    name: str
    folder: Path
    steps: int
    guidance: float


def default_cache() -> Path:
    """Where random checkpoints are kept from run to run."""
    return Path(tempfile.gettempdir()) / "sd-rbee-benches"


def kept(folder: Path, cache: Path, kind: str) -> Path:
    """Where a conversion of the model in `folder` is kept, for as long as that is not written anew."""
    written = (folder / "model_index.json").stat().st_mtime_ns
    return cache / f"{kind}-{zlib.crc32(f'{folder.resolve()} {written}'.encode()):08x}"


def resolve(name: str, cache: Path, steps: int | None, size: int | None = None) -> Model:
    """The model of a preset's name, an alias or a path; a preset's checkpoint is written where it is not there yet.

    Args:
        name: What was asked for.
        cache: Where random checkpoints are kept.
        steps: Of a picture; the model's own, else a few.
        size: Sides in pixels that a preset's model is to call its own; the published ones where it is None.

    Raises:
        sd_rbee.ModelNotFoundError: It is none of them.
        OSError: The checkpoint cannot be written.
        ValueError: A size that is not for this model.
    """
    if name in PRESETS:
        folder = _random_checkpoint(name, cache, size)
    elif size is None:
        folder = models.resolve(name)
    else:
        raise ValueError(f"size: got {size} for {name}, allowed is none for a model that has its own")
    own = folder / "generation_config.json"
    settings = json.loads(own.read_text(encoding="utf-8")) if own.is_file() else {}
    steps = steps or settings.get("num_inference_steps", _STEPS)
    return Model(name, folder, steps, settings.get("guidance_scale", _GUIDANCE))


def _random_checkpoint(preset: str, cache: Path, size: int | None) -> Path:
    # f16 is what is published, and what all engines widen or round to the dtype that they are measured in.
    config = replace(PRESETS[preset], dtype="f16")
    if size is not None:
        factor = 2 ** (len(config.vae.block_out_channels) - 1)
        if size <= 0 or size % (8 * factor):
            raise ValueError(f"size: got {size}, allowed is a multiple of {8 * factor}")
        vae, unet = replace(config.vae, sample_size=size), replace(config.unet, sample_size=size // factor)
        config = replace(config, vae=vae, unet=unet)
    folder = cache / f"{preset}-{zlib.crc32(repr(config).encode()):08x}"
    if not (folder / "model_index.json").is_file():
        print(f"writing random weights of {preset} into {folder}", file=sys.stderr)
        write_checkpoint(config, folder)
    return folder
