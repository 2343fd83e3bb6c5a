"""The networks of transformers and diffusers, in double precision unless told: the truth that f32 is near."""

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tools.reference.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Buffer

Array = NDArray[np.floating[Any]]
_VAES = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


class Networks:
    """A model folder in diffusers layout, of Stable Diffusion or of SDXL. Each network is loaded when it is asked for.

    Args:
        folder: The model.
        dtype: To compute in.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float64) -> None:
        self._folder = folder
        self._dtype = dtype
        self._is_xl = (folder / "text_encoder_2").is_dir()

    @functools.cached_property
    def _text_encoder(self) -> tuple[Tokenizer, Any]:
        return Tokenizer(self._folder / "tokenizer"), self._load(CLIPTextModel, "text_encoder")

    @functools.cached_property
    def _text_encoder_2(self) -> tuple[Tokenizer, Any]:
        return Tokenizer(self._folder / "tokenizer_2"), self._load(CLIPTextModelWithProjection, "text_encoder_2")

    @functools.cached_property
    def _unet(self) -> Any:  # noqa: ANN401
        return self._load(UNet2DConditionModel, "unet")

    @functools.cached_property
    def _vae(self) -> Any:  # noqa: ANN401
        return self._load(_VAES[_class_name(self._folder / "vae")], "vae")

    def _load(self, kind: Any, component: str) -> Any:  # noqa: ANN401
        # Whatever the stored dtype is, f32 and f64 hold its values exactly.
        return kind.from_pretrained(self._folder / component, torch_dtype=self._dtype).eval()

    def _tensor(self, values: "Buffer") -> torch.Tensor:
        return torch.from_numpy(np.array(values)).to(self._dtype)

    def encode_prompt(self, text: str) -> Array:
        """The last hidden state, normed; of SDXL the last but one of both encoders side by side: (1, window, width)."""
        tokenizer, encoder = self._text_encoder
        ids = torch.tensor([tokenizer.prepare(text)])
        with torch.no_grad():
            if not self._is_xl:
                return _numpy(encoder(ids).last_hidden_state)
            first = encoder(ids, output_hidden_states=True).hidden_states[-2]
            return np.concatenate([_numpy(first), self._encode_second(text)[0]], axis=2)

    def pooled_prompt(self, text: str) -> Array | None:
        """The end token's state in the second encoder, projected, (1, width); None of models without one."""
        return self._encode_second(text)[1] if self._is_xl else None

    def _encode_second(self, text: str) -> tuple[Array, Array]:
        tokenizer, encoder = self._text_encoder_2
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
            added = {"text_embeds": self._tensor(pooled), "time_ids": self._tensor(time_ids)}
        with torch.no_grad():
            return _numpy(
                self._unet(self._tensor(sample), timestep, self._tensor(embeddings), added_cond_kwargs=added).sample
            )

    def vae_decode(self, latents: "Buffer") -> Array:
        """Pixels (batch, 3, height, width) from unscaled latents."""
        with torch.no_grad():
            return _numpy(self._vae.decode(self._tensor(latents)).sample)

    def vae_encode(self, pixels: "Buffer", *, seed: int | None = None) -> Array:
        """Unscaled latents: the posterior's mode, or a sample of it; a tiny autoencoder has no posterior."""
        with torch.no_grad():
            encoded = self._vae.encode(self._tensor(pixels))
        if isinstance(self._vae, AutoencoderTiny):
            return _numpy(encoded.latents)
        posterior = encoded.latent_dist
        if seed is None:
            return _numpy(posterior.mode())
        # Drawn in f32, as a pipeline draws it: a generator's f64 values are others.
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
        return _numpy(posterior.mean + posterior.std * noise.to(self._dtype))


def _class_name(folder: Path) -> str:
    name: str = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
    return name


def _numpy(tensor: torch.Tensor) -> Array:
    values: Array = tensor.numpy()
    return values
