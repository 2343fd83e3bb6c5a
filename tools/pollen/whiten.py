"""Latent channels of mean 0 and standard deviation 2, by arithmetic in the two quant convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tools.pollen.networks import SCALING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.pollen.kinds import Vae

# What `SCALING` brings to one.
DEVIATION = 1 / SCALING


def whiten(vae: Vae, batch: Callable[[int], torch.Tensor], batches: int) -> dict[str, Any]:
    """Measure every latent channel and fold its normalisation into the quant convolutions, in place.

    What the VAE draws from a picture stays the same but for rounding; only the latents between change.

    Args:
        vae: The network, f32.
        batch: Gives the pictures of batch `at`, f32 `[n, 3, h, w]`, -1 to 1.
        batches: How many batches to measure.

    Returns:
        The channels' means and standard deviations before.
    """
    with torch.inference_mode():
        latents = torch.cat([vae.encode(batch(at)).latent_dist.mean for at in range(batches)])
    average = latents.mean(dim=(0, 2, 3))
    deviation = latents.std(dim=(0, 2, 3))
    with torch.no_grad():
        fold(vae, average.clone(), deviation.clone() / DEVIATION)
    return {
        "means before whitening": [round(value, 3) for value in average.tolist()],
        "deviations before whitening": [round(value, 3) for value in deviation.tolist()],
    }


def fold(vae: Vae, shift: torch.Tensor, scale: torch.Tensor) -> None:
    """Make the latents `(z - shift) / scale`, and have the decoder undo that.

    Args:
        vae: The network.
        shift: f32 `[channels]`.
        scale: f32 `[channels]`, positive.
    """
    quant, post = vae.quant_conv, vae.post_quant_conv
    channels = len(shift)
    quant.weight[:channels] /= scale[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - shift) / scale
    # The other half are logarithms of variances.
    quant.bias[channels:] -= 2 * scale.log()
    post.bias += post.weight[:, :, 0, 0] @ shift
    post.weight *= scale[None, :, None, None]
