"""What the hub of the tests has: the embedded model among what lies beside models on the real one, and tiny things."""

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path

from mock_hub import Hub
from support import POLLEN
from tools.random_checkpoint import TinyVaeConfig, write_vae

MODEL, VAE = "bees/pollen", "madebyollin/taesd"
# What a pull of `MODEL` takes.
NEEDED = {
    *("model_index.json", "generation_config.json", "scheduler/scheduler_config.json", "text_encoder/config.json"),
    *("text_encoder/model.fp16.safetensors", "tokenizer/merges.txt", "tokenizer/tokenizer.json"),
    *("tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "unet/config.json", "vae/config.json"),
    *("unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors"),
}
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"
_BESIDE = [
    *("README.md", ".gitattributes", "pollen.safetensors", "pollen-inpainting.safetensors", "pollen.ckpt"),
    *("safety_checker/config.json", "safety_checker/model.safetensors", "feature_extractor/preprocessor_config.json"),
    *("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.non_ema.safetensors", "unet/model.onnx"),
    *("unet/openvino_model.xml", "unet/diffusion_flax_model.msgpack", "text_encoder/model.onnx"),
    *("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"),
    "text_encoder/model.safetensors",
]


@functools.cache
def model_files() -> dict[str, bytes]:
    """The embedded model as a repository, its weights as the variant fp16."""
    files = {path.relative_to(POLLEN).as_posix(): path.read_bytes() for path in POLLEN.rglob("*") if path.is_file()}
    files.pop("NOTICE")
    renamed = {re.sub(r"\.safetensors$", ".fp16.safetensors", name): data for name, data in files.items()}
    index = {**json.loads(files["model_index.json"]), "safety_checker": ["stable_diffusion", "SafetyChecker"]}
    beside = {name: f"{name} is not for us".encode() for name in _BESIDE}
    return {**beside, **renamed, "model_index.json": json.dumps(index).encode()}


def tiny_files() -> dict[str, bytes]:
    """A pipeline in its outlines: enough to be pulled, not to be loaded."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        **{name: ["diffusers", name] for name in ("unet", "vae", "scheduler")},
        **{name: ["transformers", name] for name in ("text_encoder", "tokenizer")},
        "safety_checker": [None, None],
    }
    return {
        "model_index.json": json.dumps(index).encode(),
        "scheduler/scheduler_config.json": b"{}",
        "tokenizer/vocab.json": b'{"of": "tokenizer"}',
        "tokenizer/merges.txt": b"",
        "text_encoder/config.json": b'{"of": "text_encoder"}',
        "text_encoder/model.safetensors": b"text_encoder" * 50,
        "unet/config.json": b'{"of": "unet"}',
        "unet/diffusion_pytorch_model.safetensors": b"unet" * 50_000,
        "vae/config.json": b'{"of": "vae"}',
        "vae/diffusion_pytorch_model.safetensors": b"vae" * 50,
    }


def vae_files(folder: Path) -> dict[str, bytes]:
    """A tiny autoencoder for the embedded model, in a repository of one component."""
    config = TinyVaeConfig(
        latent_channels=8, encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8)
    )
    written = write_vae(config, folder / "taesd", dtype="f16")
    return {path.name: path.read_bytes() for path in written.iterdir()} | {
        "taesd_decoder.safetensors": b"of another layout",
        "diffusion_pytorch_model.bin": b"a pickle",
    }


def with_model(hub: Hub) -> Hub:
    """The hub with `MODEL`."""
    hub.add(MODEL, model_files())
    return hub


def with_tiny(hub: Hub, name: str = "bees/tiny", changes: Mapping[str, bytes] | None = None) -> Hub:
    """The hub with a pipeline in its outlines."""
    hub.add(name, {**tiny_files(), **(changes or {})})
    return hub
