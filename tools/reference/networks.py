"""The networks of transformers and diffusers, in double precision: the truth that both sides' f32 is near."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tools.reference.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Buffer

Array = NDArray[np.float64]
_VAES = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


class Networks:
    """A model folder in diffusers layout, of Stable Diffusion or of SDXL."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer(folder / "tokenizer")
        self.text_encoder = _load(CLIPTextModel, folder / "text_encoder")
        self._second: tuple[Tokenizer, torch.nn.Module] | None = None
        if (folder / "text_encoder_2").is_dir():
            encoder = _load(CLIPTextModelWithProjection, folder / "text_encoder_2")
            self._second = Tokenizer(folder / "tokenizer_2"), encoder
        self.unet = _load(UNet2DConditionModel, folder / "unet")
        self.vae = _load(_VAES[_class_name(folder / "vae")], folder / "vae")

    def encode_prompt(self, text: str) -> Array:
        """The last hidden state, normed; of SDXL the last but one of both encoders side by side: (1, window, width)."""
        ids = torch.tensor([self.tokenizer.prepare(text)])
        with torch.no_grad():
            if self._second is None:
                return _numpy(self.text_encoder(ids).last_hidden_state)
            first = self.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
            return np.concatenate([_numpy(first), self._encode_second(text)[0]], axis=2)

    def pooled_prompt(self, text: str) -> Array | None:
        """The end token's state in the second encoder, projected, (1, width); None of models without one."""
        return None if self._second is None else self._encode_second(text)[1]

    def _encode_second(self, text: str) -> tuple[Array, Array]:
        assert self._second is not None
        tokenizer, encoder = self._second
        with torch.no_grad():
            encoded = encoder(torch.tensor([tokenizer.prepare(text)]), output_hidden_states=True)
        return _numpy(encoded.hidden_states[-2]), _numpy(encoded.text_embeds)

    def predict(
        self,
        sample: "Buffer",
        timestep: float,
        embeddings: "Buffer",
        pooled: "Buffer | None" = None,
        time_ids: "Buffer | None" = None,
    ) -> Array:
        """The UNet's output for `sample` (batch, channels, height, width) and `embeddings` (batch, tokens, width).

        SDXL's also takes `pooled` (batch, width) and `time_ids` (batch, 6).
        """
        added = None
        if pooled is not None and time_ids is not None:
            added = {"text_embeds": _tensor(pooled), "time_ids": _tensor(time_ids)}
        with torch.no_grad():
            return _numpy(self.unet(_tensor(sample), timestep, _tensor(embeddings), added_cond_kwargs=added).sample)

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
