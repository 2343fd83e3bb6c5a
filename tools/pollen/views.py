"""Batches of pictures over colours, cut and scaled in one sampling."""

from __future__ import annotations

import torch
from torch.nn import functional

from tools.pollen import captions

# How large a thing is drawn, as a share of the picture: pairs are half as large as things alone.
SMALLEST, LARGEST = 0.45, 1.0
NAMED_COLOURS = 0.5


def random(things: torch.Tensor, count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Return cuts of random things at random sizes over random colours.

    Args:
        things: uint8 `[things, side, side, 4]`, straight alpha.
        count: How many.
        size: Width and height of a cut in pixels, at most `side`.
        generator: CPU generator of all choices.

    Returns:
        f32 `[count, 3, size, size]`, -1 to 1, on the device of `things`.
    """

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    side = things.shape[1]
    chosen = torch.randint(len(things), (count,), generator=generator)
    scale = uniform(SMALLEST, LARGEST)
    # In units of the thing's half width: a cut reaches over `reach`, and its middle is anywhere from which it still
    # meets the picture that the thing lies in.
    reach = size / side / scale
    free = (1 / scale - reach).clamp(min=0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = reach * torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = reach
    theta[:, 0, 2] = free * uniform(-1, 1)
    theta[:, 1, 2] = free * uniform(-1, 1)
    named = _colours()[torch.randint(len(captions.COLOURS), (count,), generator=generator)]
    free_colours = torch.rand(count, 3, generator=generator)
    is_named = torch.rand(count, 1, generator=generator) < NAMED_COLOURS
    return _compose(things, chosen, theta, torch.where(is_named, named, free_colours), size)


def judged(things: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Return whole pictures of things spread over the list, half of them on white; arguments as for `random`."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(things), generator=generator)[:count]
    theta = torch.eye(2, 3).expand(len(chosen), 2, 3)
    colours = _colours()[torch.randint(len(captions.COLOURS), (len(chosen),), generator=generator)]
    colours[::2] = 1.0
    return _compose(things, chosen, theta, colours, things.shape[1])


def _compose(
    things: torch.Tensor, chosen: torch.Tensor, theta: torch.Tensor, colours: torch.Tensor, size: int
) -> torch.Tensor:
    picture = things[chosen.to(things.device)].permute(0, 3, 1, 2).float() / 255
    # Alpha first: colours of transparent pixels must not bleed into their neighbours.
    premultiplied = torch.cat([picture[:, :3] * picture[:, 3:], picture[:, 3:]], dim=1)
    grid = functional.affine_grid(theta.to(things.device), [len(chosen), 4, size, size], align_corners=False)
    cut = functional.grid_sample(premultiplied, grid, mode="bilinear", align_corners=False)
    ground = colours.to(things.device)[:, :, None, None]
    return (cut[:, :3] + ground * (1 - cut[:, 3:])) * 2 - 1


def _colours() -> torch.Tensor:
    return torch.tensor(list(captions.COLOURS.values())) / 255
