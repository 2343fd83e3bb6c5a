"""What the recipe uses of the libraries' networks: their own annotations do not say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch


class Saved(Protocol):
    """Anything that writes itself into a diffusers folder."""

    def save_pretrained(self, save_directory: Path) -> object: ...


class Network(Saved, Protocol):
    """A network of either library."""

    def to(self, device: torch.device) -> Self: ...
    def half(self) -> Self: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...
    def state_dict(self) -> Mapping[str, torch.Tensor]: ...


class Posterior(Protocol):
    """A Gaussian over latents; all tensors are `[n, channels, h, w]`."""

    mean: torch.Tensor
    std: torch.Tensor


class Encoded(Protocol):
    """What encoding pictures gives."""

    latent_dist: Posterior


class Sampled(Protocol):
    """What a network gives that makes pictures, latents or v."""

    sample: torch.Tensor


class Part(Protocol):
    """Any part of a network."""

    def requires_grad_(self, requires_grad: bool = True) -> object: ...


class Convolution(Part, Protocol):
    """A convolution that has a bias."""

    weight: torch.Tensor
    bias: torch.Tensor


class Vae(Network, Protocol):
    """diffusers' `AutoencoderKL`."""

    encoder: Part
    quant_conv: Convolution
    post_quant_conv: Convolution

    def encode(self, x: torch.Tensor) -> Encoded: ...
    def decode(self, z: torch.Tensor) -> Sampled: ...


class Unet(Network, Protocol):
    """diffusers' `UNet2DConditionModel`."""

    def set_attn_processor(self, processor: object) -> None: ...
    def __call__(
        self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor
    ) -> Sampled: ...


class Hidden(Protocol):
    """What encoding captions gives."""

    last_hidden_state: torch.Tensor


class TextEncoder(Network, Protocol):
    """transformers' `CLIPTextModel`."""

    def __call__(self, input_ids: torch.Tensor) -> Hidden: ...


class Scheduler(Saved, Protocol):
    """diffusers' `DDIMScheduler`, of which training uses the noise schedule."""

    config: Any

    def add_noise(self, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor: ...
    def get_velocity(self, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor: ...


class Attention(Protocol):
    """diffusers' attention layer, as a processor sees it."""

    heads: int
    to_q: torch.nn.Module
    to_k: torch.nn.Module
    to_v: torch.nn.Module
    to_out: torch.nn.ModuleList


class Tokenizer(Protocol):
    """transformers' `CLIPTokenizer`."""

    model_max_length: int
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int

    def __len__(self) -> int: ...
    # What comes back depends on the arguments: lists, or tensors of i64.
    def __call__(self, text: list[str], **options: object) -> Any: ...  # noqa: ANN401
