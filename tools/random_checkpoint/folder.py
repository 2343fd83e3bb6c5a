"""A whole checkpoint in diffusers layout."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.random_checkpoint.autoencoder_tiny import autoencoder_tiny
from tools.random_checkpoint.config import CheckpointConfig, Dtype, TinyVaeConfig, VaeConfig
from tools.random_checkpoint.json_configs import json_configs, vae_json
from tools.random_checkpoint.safetensors import write_safetensors
from tools.random_checkpoint.tensors import Specs
from tools.random_checkpoint.text_encoder import clip_text_model, clip_text_model_with_projection
from tools.random_checkpoint.tokenizer import write_tokenizer
from tools.random_checkpoint.unet import unet
from tools.random_checkpoint.vae import autoencoder_kl

INDEX = "model_index.json"
_VAE_WEIGHTS = "diffusion_pytorch_model.safetensors"


def specs(config: CheckpointConfig) -> dict[str, Specs]:
    """The tensors of every weights file, by its path in the folder.

    Raises:
        ValueError: The configuration contradicts itself; raised as the tensors are asked for.
    """
    prefix = config.text_encoder_prefix
    files = {
        "text_encoder/model.safetensors": clip_text_model(config.text_encoder, config.tokenizer.vocab_size, prefix)
    }
    if config.text_encoder_2 is not None:
        files["text_encoder_2/model.safetensors"] = clip_text_model_with_projection(
            config.text_encoder_2, config.tokenizer_2.vocab_size
        )
    return {
        **files,
        "unet/diffusion_pytorch_model.safetensors": unet(config.unet),
        f"vae/{_VAE_WEIGHTS}": _vae_specs(config.tiny_vae or config.vae),
    }


def write_checkpoint(
    config: CheckpointConfig,
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    on_file: Callable[[str], object] = lambda _: None,
) -> Path:
    """Writes a model with random weights. Its `model_index.json` comes last: where it is, the rest is whole.

    Args:
        config: What to write.
        folder: Where to; made if it is not there, and must be empty.
        seed: Of the weights, 0 or more. One seed gives one value for a name and a shape, in any configuration.
        on_file: Called with the path in the folder of each weights file before it is written.

    Raises:
        ValueError: A negative seed, or a configuration that contradicts itself.
        FileExistsError: The folder is not empty.
    """
    folder = Path(folder)
    if seed < 0:
        raise ValueError(f"seed: got {seed}, allowed is 0 or more")
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"folder: {folder} is not empty, allowed is a new or an empty one")
    configs = json_configs(config)
    for path in configs:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / "tokenizer", config.tokenizer, config.text_encoder.max_position_embeddings)
    if config.text_encoder_2 is not None:
        write_tokenizer(folder / "tokenizer_2", config.tokenizer_2, config.text_encoder_2.max_position_embeddings)
    for path, tensors in specs(config).items():
        on_file(path)
        write_safetensors(folder / path, tensors, config.dtype, seed)
    for path, contents in configs.items():
        _write_json(folder / path, contents)
    return folder


def write_vae(
    config: VaeConfig | TinyVaeConfig, folder: str | os.PathLike[str], *, dtype: Dtype = "f32", seed: int = 0
) -> Path:
    """Writes a VAE by itself: `config.json` and its weights, as diffusers does; else as `write_checkpoint`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / _VAE_WEIGHTS, _vae_specs(config), dtype, seed)
    _write_json(folder / "config.json", vae_json(config))
    return folder


def _vae_specs(config: VaeConfig | TinyVaeConfig) -> Specs:
    return autoencoder_tiny(config) if isinstance(config, TinyVaeConfig) else autoencoder_kl(config)


def _write_json(path: Path, contents: dict[str, Any]) -> None:
    path.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8", newline="\n")
