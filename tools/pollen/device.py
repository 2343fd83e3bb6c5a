"""Where and how exactly the networks are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tools.pollen.errors import RecipeError

if TYPE_CHECKING:
    from tools.pollen.settings import Settings


def place(settings: Settings) -> torch.device:
    """Set threads and the seed of new weights, and return the device.

    Raises:
        RecipeError: The device is not there.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RecipeError(f"device: {settings.device} was given, but torch sees no CUDA device; allowed is cpu")
    return device


def autocast(settings: Settings) -> torch.autocast:
    """Return the context that training steps run under."""
    return torch.autocast(torch.device(settings.device).type, torch.bfloat16, enabled=settings.bf16)
