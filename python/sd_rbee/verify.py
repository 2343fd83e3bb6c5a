"""The native engine against the candle reference engine, part by part, on the same inputs."""

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sd_rbee import models
from sd_rbee.backend import native

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Relative RMS in f32. The reference's GEGLU is the tanh approximation of GELU, so its UNet is a little off by itself,
# and a picture adds that up over its steps.
TOLERANCES = {"text encoder": 1e-4, "unet": 5e-3, "vae decode": 1e-4, "vae encode": 1e-4, "picture": 2e-2}
# What a dtype's own rounding adds to that, relative RMS.
ROUNDING = {"f32": 0.0, "f16": 3e-3, "bf16": 2e-2, "int8": 1e-1}
_PROMPTS = {"empty": "", "short": "a robot", "long": "a red apple next to a blue guitar " * 12}
_TIMESTEPS = (999.0, 500.0, 1.0)


@dataclass(frozen=True, slots=True)
class Check:
    """How far apart the two engines are in one part.

    Attributes:
        part: A key of `TOLERANCES`.
        case: The input.
        relative_rms: RMS of the difference over RMS of the reference's values.
        max_abs: Largest difference.
        tolerance: What `relative_rms` may be.
    """

    part: str
    case: str
    relative_rms: float
    max_abs: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the part is within its tolerance; NaN is not."""
        return self.relative_rms <= self.tolerance


def verify(
    model: str | os.PathLike[str] = models.DEFAULT,
    *,
    device: str = "auto",
    dtype: str = "auto",
    num_threads: int | None = None,
    steps: int = 4,
    seed: int = 0,
) -> Iterator[Check]:
    """Loads a model into both engines and yields one comparison after the other.

    Args:
        model: Alias or folder.
        device: As for `Pipeline.load`.
        dtype: As for `Pipeline.load`. On the CPU the reference computes in f32 whatever is asked for here.
        num_threads: As for `Pipeline.load`.
        steps: Sampling steps of the whole picture.
        seed: Of the latents and the picture.
    """
    folder = str(models.resolve(model))
    ours = native.Pipeline.load(folder, device=device, dtype=dtype, engine="native", num_threads=num_threads)
    theirs = "f32" if ours.device == "cpu" else ours.dtype
    reference = native.Pipeline.load(folder, device=ours.device, dtype=theirs, engine="candle", num_threads=num_threads)

    def check(part: str, case: str, values: "Buffer", expected: "Buffer") -> Check:
        apart = native.compare(values, expected)
        return Check(part, case, apart.relative_rms, apart.max_abs, TOLERANCES[part] + ROUNDING[ours.dtype])

    for case, prompt in _PROMPTS.items():
        yield check("text encoder", f"{case} prompt", ours.encode_prompt(prompt), reference.encode_prompt(prompt))

    generator = native.Generator(seed)
    latents = generator.randn((1, *ours.latent_shape(ours.defaults["height"], ours.defaults["width"])))
    embeddings = ours.encode_prompt(_PROMPTS["short"])
    for timestep in _TIMESTEPS:
        arguments = (latents, timestep, embeddings)
        yield check("unet", f"timestep {timestep:.0f}", ours.predict(*arguments), reference.predict(*arguments))

    pixels = ours.vae_decode(latents)
    yield check("vae decode", "noise", pixels, reference.vae_decode(latents))
    yield check("vae encode", "mode", ours.vae_encode(pixels), reference.vae_encode(pixels))

    drawn = [
        pipe.generate(_PROMPTS["short"], num_inference_steps=steps, seed=seed).images[0] for pipe in (ours, reference)
    ]
    yield check("picture", f"{steps} steps", *(array("f", iter(bytes(image))) for image in drawn))
