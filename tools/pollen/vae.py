"""The VAE: pictures to latents and back, trained on crops and whole pictures over random colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from tools.pollen import networks, pictures, views
from tools.pollen.budget import Budget
from tools.pollen.device import autocast, place
from tools.pollen.files import whole
from tools.pollen.scenes import SIZE
from tools.pollen.training import Loop
from tools.pollen.whiten import whiten

if TYPE_CHECKING:
    from tools.pollen.kinds import Vae
    from tools.pollen.settings import Settings

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT = 1.0
HOLD = 0.4
CROPS, CROP = 32, 64
WHOLES = 8
# One step in so many sees whole pictures: what is far apart in them meets in the middle block's attention.
WHOLE_EVERY = 4
JUDGED = 128


def run(settings: Settings) -> dict[str, Any]:
    """Write the folder `vae`, f32, its latents whitened."""
    device = place(settings)
    start = settings.start
    vae = networks.new_vae() if start is None else networks.read_vae(start / "vae")
    vae.to(device)
    things = torch.from_numpy(pictures.load(settings.pictures)).to(device)
    figures: dict[str, Any] = {"PSNR before": psnr(vae, things)}
    loop = None
    if settings.trains_vae:
        loop = _loop(vae, settings)
        figures |= loop.run(lambda: _loss(vae, things, loop, settings))
    if settings.trains_vae and not settings.freeze_encoder:
        figures |= whiten(vae, lambda at: views.judged(things, JUDGED, seed=1 + at), batches=4)
    figures["PSNR"] = psnr(vae, things)
    with whole(settings.vae) as draft:
        vae.save_pretrained(draft)
    if loop is not None:
        loop.finish()
    return figures


def loss(vae: Vae, target: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the L1 distance, that of the gradients, and a small KL, summed.

    Args:
        vae: The network.
        target: Pictures, f32 `[n, 3, h, w]`, -1 to 1.
        generator: CPU generator of the posterior's noise.
    """
    posterior = vae.encode(target).latent_dist
    average, deviation = posterior.mean.float(), posterior.std.float()
    noise = torch.randn(average.shape, generator=generator).to(average.device)
    drawn = vae.decode(average + deviation * noise).sample.float()
    divergence = 0.5 * (average**2 + deviation**2 - 1 - 2 * deviation.log()).mean()
    return functional.l1_loss(drawn, target) + GRADIENT_WEIGHT * _edges(drawn, target) + KL_WEIGHT * divergence


def psnr(vae: Vae, things: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB, peak 2, of whole pictures through the posterior's mean."""
    target = views.judged(things, JUDGED, seed=0)
    errors = []
    vae.eval()
    with torch.inference_mode():
        for part in torch.split(target, 16):
            drawn = vae.decode(vae.encode(part).latent_dist.mean).sample.clamp(-1, 1)
            errors.append(((drawn - part) ** 2).mean(dim=(1, 2, 3)))
    vae.train()
    return round(float(10 * torch.log10(4 / torch.cat(errors)).mean()), 2)


def _edges(drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    difference = drawn - target
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def _loop(vae: Vae, settings: Settings) -> Loop:
    if settings.freeze_encoder:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    return Loop(
        name="vae",
        parameters={name: value for name, value in vae.named_parameters() if value.requires_grad},
        budget=Budget(settings.minutes_vae, settings.steps_vae),
        rate=settings.rate_vae,
        hold=HOLD if settings.start is None else 0.0,
        generator=torch.Generator().manual_seed(settings.seed),
        checkpoint=settings.work / "vae.checkpoint.pt",
        checkpoint_minutes=settings.checkpoint_minutes,
    )


def _loss(vae: Vae, things: torch.Tensor, loop: Loop, settings: Settings) -> torch.Tensor:
    entire = len(loop.losses) % WHOLE_EVERY == 0
    count, size = (WHOLES, SIZE) if entire else (CROPS, CROP)
    target = views.random(things, count, size, loop.generator)
    with autocast(settings):
        return loss(vae, target, loop.generator)
