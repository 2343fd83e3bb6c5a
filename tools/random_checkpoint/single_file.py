"""A folder in diffusers layout as one file in latent diffusion's, as Stable Diffusion was first published.

The names are those of diffusers' `scripts/convert_diffusers_to_original_stable_diffusion.py` and `..._sdxl.py`, for any
number of levels and layers, and what else published files hold is added.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Dtype as safetensors calls it, shape, bytes.
Tensor = tuple[str, list[int], bytes]
Tensors = dict[str, Tensor]

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn": "attn",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_COUNTER: Tensor = ("I64", [], (470_000).to_bytes(8, "little"))
_SCALAR: Tensor = ("F32", [], bytes(4))


def write_single_file(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
    extra: Mapping[str, Tensor] | None = None,
    without: str = "",
) -> Path:
    """Writes the model in `folder` to `path`.

    Args:
        folder: Stable Diffusion 1, 2 or XL in diffusers layout, unsharded.
        path: The file; one that is there is written over.
        metadata: What the header is to say.
        extra: Tensors to add.
        without: A component to leave out.
    """
    folder, path = Path(folder), Path(path)
    tensors: Tensors = {}
    if without != "unet":
        tensors |= _prefixed(_UNET, unet(read(folder / "unet")))
    if without != "vae":
        tensors |= _prefixed(_VAE, vae(read(folder / "vae")))
    if without != "text_encoder":
        tensors |= _text_encoders(folder)
    tensors |= {"global_step": _COUNTER, **_schedule(folder), "model_ema.decay": _SCALAR}
    write(path, {**tensors, **(extra or {})}, metadata)
    return path


def read(path: Path) -> Tensors:
    """The tensors of a safetensors file, or of the one in the folder of a component."""
    if path.is_dir():
        (path,) = path.glob("*.safetensors")
    contents = memoryview(path.read_bytes())
    start = 8 + int.from_bytes(contents[:8], "little")
    header, data = json.loads(bytes(contents[8:start])), contents[start:]
    header.pop("__metadata__", None)
    return {
        name: (entry["dtype"], entry["shape"], bytes(data[slice(*entry["data_offsets"])]))
        for name, entry in header.items()
    }


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors as they are."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        start, end = end, end + len(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(data for _, _, data in tensors.values())


def unet(tensors: Tensors) -> Tensors:
    """A UNet under latent diffusion's names."""
    layers = 1 + max(int(name.split(".")[3]) for name in tensors if name.startswith("down_blocks.0.resnets."))

    def stored(name: str) -> str:
        for ours, theirs in _UNET_ENDS.items():
            if name.startswith(f"{ours}."):
                return theirs + name.removeprefix(ours)
        block, part, rest = _unet_block(name)
        if part == "mid":
            kind, index, rest = rest.split(".", 2)
            prefix = f"middle_block.{2 * int(index) if kind == 'resnets' else 1}"
            return f"{prefix}.{_replace(rest, _RESNET) if kind == 'resnets' else rest}"
        kind, index, rest = rest.split(".", 2)
        first = block * (layers + 1) + (int(index) if kind in ("resnets", "attentions") else layers)
        number = f"input_blocks.{first + 1}" if part == "down" else f"output_blocks.{first}"
        if kind == "resnets":
            return f"{number}.0.{_replace(rest, _RESNET)}"
        if kind == "attentions":
            return f"{number}.1.{rest}"
        if part == "down":
            return f"{number}.0.op.{rest.removeprefix('conv.')}"
        attends = any(name.startswith(f"up_blocks.{block}.attentions.") for name in tensors)
        return f"{number}.{1 + attends}.{rest}"

    return {stored(name): tensor for name, tensor in tensors.items()}


def _unet_block(name: str) -> tuple[int, str, str]:
    if name.startswith("mid_block."):
        return 0, "mid", name.removeprefix("mid_block.")
    part, block, rest = name.split(".", 2)
    return int(block), part.removesuffix("_blocks"), rest


def vae(tensors: Tensors) -> Tensors:
    """An AutoencoderKL under latent diffusion's names, its attention as convolutions of 1x1."""
    levels = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("decoder.up_blocks."))
    return dict(_vae_tensor(name, tensor, levels) for name, tensor in tensors.items())


def _vae_tensor(name: str, tensor: Tensor, levels: int) -> tuple[str, Tensor]:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda match: f"up.{levels - 1 - int(match[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"up.{levels - 1 - int(match[1])}.upsample", name)
    head, middle, rest = name.partition("mid_block.attentions.0.")
    if not middle:
        return name, tensor
    dtype, shape, data = tensor
    return f"{head}mid.attn_1.{_replace(rest, _ATTENTION)}", (dtype, shape + [1, 1] * (len(shape) == 2), data)


def open_clip(tensors: Tensors) -> Tensors:
    """A text encoder under OpenCLIP's names: queries, keys and values in one tensor, the projection transposed."""
    made: Tensors = {}
    for name, (dtype, shape, data) in _canonical(tensors):
        if name == "text_projection.weight":
            width = 4 if dtype == "F32" else 2
            values = np.frombuffer(data, f"V{width}").reshape(shape).T
            made["text_projection"] = (dtype, shape[::-1], values.tobytes())
        elif match := re.fullmatch(r"(.*\.self_attn)\.q_proj\.(weight|bias)", name):
            parts = [dict(_canonical(tensors))[f"{match[1]}.{part}_proj.{match[2]}"] for part in "qkv"]
            fused = (dtype, [3 * shape[0], *shape[1:]], b"".join(data for _, _, data in parts))
            made[_replace(f"{match[1]}.in_proj_{match[2]}", _OPEN_CLIP)] = fused
        elif not re.search(r"\.[kv]_proj\.", name):
            made[_replace(name, _OPEN_CLIP)] = (dtype, shape, data)
    return made


def _text_encoders(folder: Path) -> Tensors:
    first = read(folder / "text_encoder")
    second = folder / "text_encoder_2"
    if second.is_dir():
        tensors = _prefixed("conditioner.embedders.0.transformer.text_model.", dict(_canonical(first)))
        rider = {"conditioner.embedders.1.model.logit_scale": _SCALAR}
        return tensors | _prefixed("conditioner.embedders.1.model.", open_clip(read(second))) | rider
    if json.loads((folder / "text_encoder" / "config.json").read_text())["hidden_act"] == "quick_gelu":
        rider = {"cond_stage_model.transformer.text_model.embeddings.position_ids": _COUNTER}
        return _prefixed("cond_stage_model.transformer.text_model.", dict(_canonical(first))) | rider
    tensors = open_clip(first)
    # The tower has one layer more than Stable Diffusion 2 takes, and what comes behind it.
    last = max(int(name.split(".")[2]) for name in tensors if name.startswith("transformer.resblocks."))
    unused = {
        name.replace(f"resblocks.{last}.", f"resblocks.{last + 1}."): tensor
        for name, tensor in tensors.items()
        if f"resblocks.{last}." in name
    }
    dtype, (_, width), _ = tensors["token_embedding.weight"]
    square = (dtype, [width, width], bytes(width * width * (4 if dtype == "F32" else 2)))
    unused |= {"text_projection": square, "logit_scale": _SCALAR}
    return _prefixed("cond_stage_model.model.", tensors | unused)


def _canonical(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Under the names of transformers 5."""
    return ((name.removeprefix("text_model."), tensor) for name, tensor in tensors.items())


def _schedule(folder: Path) -> Tensors:
    """The noise of each step of the training, which readers of the schedule's own tensors draw by."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    first, last = config["beta_start"] ** 0.5, config["beta_end"] ** 0.5
    betas: NDArray[np.float64] = np.linspace(first, last, config["num_train_timesteps"]) ** 2
    return {"betas": _floats(betas), "alphas_cumprod": _floats(np.cumprod(1 - betas))}


def _floats(values: NDArray[np.floating[Any]]) -> Tensor:
    return "F32", list(values.shape), values.astype("<f4").tobytes()


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _replace(name: str, parts: Mapping[str, str]) -> str:
    for ours, theirs in parts.items():
        name = name.replace(ours, theirs)
    return name
