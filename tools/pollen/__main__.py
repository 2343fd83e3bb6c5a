"""``python -m tools.pollen STAGE``: see README.md beside this file."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from tools.pollen import stages
from tools.pollen.errors import RecipeError
from tools.pollen.settings import DEFAULT_WORK, Settings

PROMPTS = (
    "a robot",
    "a candle",
    "a red apple",
    "an owl",
    "a guitar",
    "a cup of coffee",
    "a pizza on a blue background",
    "a smiley with sunglasses",
    "a phone on a yellow background",
    "a cat face and a dog face",
    "a banana next to a key",
    "a rocket on the left and a crescent moon on the right",
)
# Of the first cycle, and of one that goes on from trained weights.
MINUTES_VAE, MINUTES_UNET, RATE_UNET = 45.0, 98.0, 1.2e-3
MORE_MINUTES_VAE, MORE_MINUTES_UNET, MORE_RATE_UNET = 0.0, 32.0, 6e-4


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    made = argparse.ArgumentParser(prog="python -m tools.pollen", description="Train the embedded model.")
    add = made.add_argument
    add("stage", choices=("all", *stages.NAMES), help="the stage to do, after those that it needs; or all of them")
    add("--force", action="store_true", help="do the stage again though it is done")
    add("--work", type=Path, default=DEFAULT_WORK, help="folder of everything made (%(default)s)")
    add("--start", type=Path, help="diffusers folder to go on from, instead of beginning anew")
    add(
        "--minutes-vae",
        type=float,
        help=f"training time of the VAE ({MINUTES_VAE:g}; {MORE_MINUTES_VAE:g} with --start)",
    )
    add(
        "--minutes-unet",
        type=float,
        help=f"training time of text encoder and UNet ({MINUTES_UNET:g}; {MORE_MINUTES_UNET:g} with --start)",
    )
    add("--steps-vae", type=int, help="steps instead of minutes: repeats exactly on the same machine")
    add("--steps-unet", type=int, help="steps instead of minutes")
    add("--rate-vae", type=float, default=1e-3, help="peak learning rate of the VAE (%(default)s)")
    add("--rate-unet", type=float, help=f"that of text encoder and UNet ({RATE_UNET}; {MORE_RATE_UNET} with --start)")
    add("--freeze-encoder", action="store_true", help="train only the VAE's decoder: latents stay as --start has them")
    add("--unet-channels", type=int, nargs=3, default=(64, 96, 160), help="widths of the UNet (%(default)s)")
    add("--batch", type=int, default=64, help="samples a step of text encoder and UNet (%(default)s)")
    add("--pairs", type=int, default=9000, help="scenes of two things (%(default)s)")
    add("--checkpoint-minutes", type=float, default=10.0, help="time between checkpoints (%(default)s)")
    add("--seed", type=int, default=0, help="(%(default)s)")
    add("--threads", type=int, default=2, help="CPU threads (%(default)s)")
    add("--device", help="cpu, cuda or cuda:N (cuda where torch sees one)")
    add("--bf16", action=argparse.BooleanOptionalAction, help="train under bf16 autocast (on cuda)")
    add("--prompt", action="append", dest="prompts", help="what sample draws; may be repeated")
    return made


def settings_of(given: argparse.Namespace) -> Settings:
    """Fill in the defaults that depend on other arguments or on the machine."""
    more = given.start is not None
    device = given.device or default_device()
    values: dict[str, Any] = {
        "start": None,
        "minutes_vae": MORE_MINUTES_VAE if more else MINUTES_VAE,
        "minutes_unet": MORE_MINUTES_UNET if more else MINUTES_UNET,
        "steps_vae": None,
        "steps_unet": None,
        "rate_unet": MORE_RATE_UNET if more else RATE_UNET,
        "device": device,
        "bf16": device.startswith("cuda"),
        "prompts": PROMPTS,
    }
    values |= {name: value for name, value in vars(given).items() if value is not None}
    del values["stage"], values["force"]
    values["unet_channels"], values["prompts"] = tuple(values["unet_channels"]), tuple(values["prompts"])
    return Settings(**values)


def default_device() -> str:
    """Return `cuda` where torch is there and sees one; the first stages run without torch."""
    if importlib.util.find_spec("torch") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def main() -> int:
    given = parser().parse_args()
    try:
        stages.run(given.stage, settings_of(given), given.force)
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
