"""What each network of a model is given, the same for both sides."""

import json
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tools.goldens.inputs import normal

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Most values of a stored sample.
SAMPLE = 1024
PROMPTS = ("", "a robot", "a Red apple next to a blue guitar, \U0001f916 \u732b! " * 4)
# Height, width, timestep and tokens; odd sizes are not halved evenly on the way down.
_UNET: tuple[tuple[int, int, float, int | None], ...] = (
    (16, 16, 999.0, None),
    (8, 24, 500.5, 7),
    (5, 7, 261.0, None),
    (12, 4, 0.0, 1),
)
# Original height and width, top and left, target height and width, as SDXL is told them.
_TIME_IDS = ((1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0), (37.0, 4096.0, 512.0, 3.0, 640.0, 1536.0))
_DECODE = ((1, 8, 8), (2, 3, 10), (1, 16, 16))
_ENCODE = ((1, 8, 8), (2, 3, 10), (1, 16, 16))


class Networks(Protocol):
    """The networks of a model: the native pipeline, or `tools.reference.networks`. All values given are f32."""

    def encode_prompt(self, text: str) -> ArrayLike: ...
    def pooled_prompt(self, text: str) -> ArrayLike | None: ...
    def predict(
        self,
        sample: "Buffer",
        timestep: float,
        embeddings: "Buffer",
        pooled: "Buffer | None" = None,
        time_ids: "Buffer | None" = None,
    ) -> ArrayLike: ...
    def vae_decode(self, latents: "Buffer") -> ArrayLike: ...
    def vae_encode(self, pixels: "Buffer", *, seed: int | None = None) -> ArrayLike: ...


def folder_cases(folder: Path, checkpoint: str, seed: int = 100) -> list[dict[str, Any]]:
    """The cases of the model in `folder`, which they call `checkpoint`; their inputs are drawn from `seed` on."""
    unet, vae, text = (_config(folder / part) for part in ("unet", "vae", "text_encoder"))
    tokens, width = text["max_position_embeddings"], unet["cross_attention_dim"]
    second = folder / "text_encoder_2"
    pooled = _config(second)["projection_dim"] if second.is_dir() else None
    # Pixels to a latent, along a side.
    channels = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
    factor = 2 ** (len(channels) - 1)
    made: list[dict[str, Any]] = [{"part": "text_encoder", "text": prompt} for prompt in PROMPTS]
    if pooled is not None:
        made += [{"part": "pooled_prompt", "text": prompt} for prompt in PROMPTS]
    for number, (height, width_, timestep, count) in enumerate(_UNET):
        batch = 2 if number == 0 else 1
        shape, text_shape = [batch, unet["in_channels"], height, width_], [batch, count or tokens, width]
        case = {"part": "unet", "shape": shape, "timestep": timestep, "text_shape": text_shape}
        if pooled is not None:
            # A batch of one has one or the other.
            case |= {
                "pooled_shape": [batch, pooled],
                "time_ids": list(islice(cycle(_TIME_IDS), number, number + batch)),
            }
        made.append(case)
    for batch, height, width_ in _DECODE:
        made.append({"part": "vae_decode", "shape": [batch, vae["latent_channels"], height, width_]})
    for noise_seed, (batch, height, width_) in zip((None, 7, 11), _ENCODE, strict=True):
        shape = [batch, 3, factor * height, factor * width_]
        made.append({"part": "vae_encode", "shape": shape, "noise_seed": noise_seed})
    return [{"checkpoint": checkpoint, **case, "seed": seed + number} for number, case in enumerate(made)]


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def run(networks: Networks, case: dict[str, Any]) -> NDArray[np.generic]:
    """The output of one case."""

    def inputs(name: str, offset: int = 0) -> memoryview:
        return normal(case["seed"] + offset, case[name]).data

    match case["part"]:
        case "text_encoder":
            return np.asarray(networks.encode_prompt(case["text"]))
        case "pooled_prompt":
            return np.asarray(networks.pooled_prompt(case["text"]))
        case "unet":
            given = [inputs("shape"), case["timestep"], inputs("text_shape", 1000)]
            if "time_ids" in case:
                given += [inputs("pooled_shape", 2000), np.array(case["time_ids"], np.float32).data]
            return np.asarray(networks.predict(*given))
        case "vae_decode":
            return np.asarray(networks.vae_decode(inputs("shape")))
        case "vae_encode":
            pixels = np.clip(inputs("shape"), -1, 1).data
            return np.asarray(networks.vae_encode(pixels, seed=case["noise_seed"]))
        case part:
            raise ValueError(
                f"part: got {part!r}, allowed are text_encoder, pooled_prompt, unet, vae_decode, vae_encode"
            )


def sample(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Values from all over the tensor, at most `SAMPLE`; all of a smaller one."""
    flat = values.ravel()
    # An odd stride walks through all columns of the usual even widths.
    return flat[:: -(-flat.size // SAMPLE) | 1]
