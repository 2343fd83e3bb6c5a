"""The networks of transformers and diffusers, in double precision: the truth that both sides' f32 is near."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel

from tools.reference.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Buffer

Array = NDArray[np.float64]
_VAES = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


class Networks:
    """A model folder in diffusers layout."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer(folder / "tokenizer")
        self.text_encoder = _load(CLIPTextModel, folder / "text_encoder")
        self.unet = _load(UNet2DConditionModel, folder / "unet")
        self.vae = _load(_VAES[_class_name(folder / "vae")], folder / "vae")

    def encode_prompt(self, text: str) -> Array:
        """The last hidden state, normed, (1, window, width)."""
        ids = torch.tensor([self.tokenizer.prepare(text)])
        with torch.no_grad():
            return _numpy(self.text_encoder(ids).last_hidden_state)

    def predict(self, sample: "Buffer", timestep: float, embeddings: "Buffer") -> Array:
        """The UNet's output for `sample` (batch, channels, height, width) and `embeddings` (batch, tokens, width)."""
        with torch.no_grad():
            return _numpy(self.unet(_tensor(sample), timestep, _tensor(embeddings)).sample)

    def vae_decode(self, latents: "Buffer") -> Array:
        """Pixels (batch, 3, height, width) from unscaled latents."""
        with torch.no_grad():
            return _numpy(self.vae.decode(_tensor(latents)).sample)

    def vae_encode(self, pixels: "Buffer", *, seed: int | None = None) -> Array:
        """Unscaled latents: the posterior's mode, or a sample of it; a tiny autoencoder has no posterior."""
        with torch.no_grad():
            encoded = self.vae.encode(_tensor(pixels))
        if isinstance(self.vae, AutoencoderTiny):
            return _numpy(encoded.latents)
        posterior = encoded.latent_dist
        if seed is None:
            return _numpy(posterior.mode())
        # Drawn in f32, as a pipeline draws it: a generator's f64 values are others.
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
        return _numpy(posterior.mean + posterior.std * noise.double())


def _class_name(folder: Path) -> str:
    name: str = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
    return name


def _load(kind: type[torch.nn.Module], folder: Path) -> torch.nn.Module:
    # Whatever the stored dtype is, f64 holds its values exactly.
    return kind.from_pretrained(folder).double().eval()


def _tensor(values: "Buffer") -> torch.Tensor:
    return torch.from_numpy(np.array(values)).double()


def _numpy(tensor: torch.Tensor) -> Array:
    values: Array = tensor.numpy()
    return values
