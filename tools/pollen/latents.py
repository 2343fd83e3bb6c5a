"""The scenes as the VAE sees them, made once: training draws from their posteriors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tools.pollen import networks, pictures, scenes
from tools.pollen.device import place
from tools.pollen.files import whole
from tools.pollen.report import say

if TYPE_CHECKING:
    from pathlib import Path

    from tools.pollen.settings import Settings

BATCH = 32
REPORT_EVERY = 100


@dataclass
class Latents:
    """Posteriors of all scenes, those of one thing before those of two.

    Attributes:
        mean: f16 `[scenes, channels, h, w]`, as the VAE gives them, unscaled.
        deviation: f16, same shape.
        singles: How many scenes show one thing.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    singles: int

    def draw(self, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return a sample of each chosen posterior, f32 `[n, channels, h, w]`, scaled to unit variance.

        Args:
            chosen: i64 `[n]`, scenes.
            generator: CPU generator of the samples.
        """
        at = chosen.to(self.mean.device)
        mean = self.mean[at].float()
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        return (mean + self.deviation[at].float() * noise) * networks.SCALING


def run(settings: Settings) -> dict[str, Any]:
    """Write `latents.pt`."""
    device = place(settings)
    vae = networks.read_vae(settings.vae).to(device).eval()
    things = pictures.load(settings.pictures)
    told = scenes.load(settings.scenes)
    means, deviations = [], []
    with torch.inference_mode():
        for at in range(0, len(told), BATCH):
            drawn = np.stack([pictures.draw(scene, things) for scene in told[at : at + BATCH]])
            batch = torch.from_numpy(drawn).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            posterior = vae.encode(batch).latent_dist
            means.append(posterior.mean.half().cpu())
            deviations.append(posterior.std.half().cpu())
            if (at // BATCH) % REPORT_EVERY == REPORT_EVERY - 1:
                say(f"latents: {at + BATCH} of {len(told)}")
    singles = sum(len(scene.placed) == 1 for scene in told)
    mean, deviation = torch.cat(means), torch.cat(deviations)
    with whole(settings.latents) as draft:
        torch.save({"mean": mean, "deviation": deviation, "singles": singles}, draft)
    scaled = mean.float() * networks.SCALING
    return {
        "scenes": len(told),
        "scaled mean": round(float(scaled.mean()), 3),
        "scaled deviation": round(float(scaled.std()), 3),
    }


def load(path: Path, device: torch.device) -> Latents:
    """Read `latents.pt` onto a device."""
    return Latents(**torch.load(path, map_location=device, weights_only=True))
