"""A model's networks as OpenVINO's files, converted by torch's tracing: shapes are fixed, weights are the model's own.

Of SDXL these are the UNet and the VAE's decoder; its prompts are encoded by torch, once.

python -m benches.openvino_conversion FOLDER CACHE
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from benches.engines import PROMPT
from benches.models import kept
from benches.parts import GUIDED, TIMESTEP

TOKENS = "tokens.json"
"""Ids of no prompt and of the prompt, which is written last."""
CONDITIONS = "conditions.npz"
"""What the UNet of SDXL sees of both, by the names of `Conditions`."""


def converted(folder: Path, cache: Path) -> Path:
    """Where the conversion of the model in `folder` is kept; it is whole where its tokens are."""
    return kept(folder, cache, "openvino")


def main(folder: str, cache: str) -> None:
    model, output = Path(folder), converted(Path(folder), Path(cache))
    if (output / TOKENS).is_file():
        return
    print(f"converting {model} for OpenVINO into {output}", file=sys.stderr)
    output.mkdir(parents=True, exist_ok=True)
    _convert(model, output)


def _convert(folder: Path, output: Path) -> None:
    torch: Any = importlib.import_module("torch")
    numpy: Any = importlib.import_module("numpy")
    diffusers_parts = importlib.import_module("benches.diffusers_parts")
    openvino: Any = importlib.import_module("openvino")

    class UNet(torch.nn.Module):  # type: ignore[misc]
        def forward(self, sample: Any, timestep: Any, embeddings: Any) -> Any:  # noqa: ANN401
            return pipe.unet(sample, timestep, embeddings, return_dict=False)[0]

    class UNetOfXl(torch.nn.Module):  # type: ignore[misc]
        def forward(self, sample: Any, timestep: Any, embeddings: Any, pooled: Any, time_ids: Any) -> Any:  # noqa: ANN401
            added = {"text_embeds": pooled, "time_ids": time_ids}
            return pipe.unet(sample, timestep, embeddings, added_cond_kwargs=added, return_dict=False)[0]

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        def forward(self, latents: Any) -> Any:  # noqa: ANN401
            return pipe.vae.decode(latents, return_dict=False)[0]

    class TextEncoder(torch.nn.Module):  # type: ignore[misc]
        def forward(self, ids: Any) -> Any:  # noqa: ANN401
            return pipe.text_encoder(ids, return_dict=False)[0]

    pipe = diffusers_parts.from_folder(folder, torch.float32)
    window = pipe.text_encoder.config.max_position_embeddings
    tokenized = pipe.tokenizer(["", PROMPT], padding="max_length", max_length=window, truncation=True)
    side, channels = pipe.unet.config.sample_size, pipe.unet.config.in_channels
    sample = torch.zeros(GUIDED, channels, side, side)
    conditions = diffusers_parts.conditions(pipe)
    networks: dict[str, tuple[Any, Any, Any]] = {"vae_decoder": (Decoder, pipe.vae, (sample[:1],))}
    if conditions.pooled is None:
        networks["text_encoder"] = (TextEncoder, pipe.text_encoder, (torch.tensor(tokenized.input_ids),))
        networks["unet"] = (UNet, pipe.unet, (sample, torch.tensor(TIMESTEP), conditions.embeddings))
    else:
        numpy.savez(output / CONDITIONS, **{name: each.numpy() for name, each in conditions._asdict().items()})
        networks["unet"] = (UNetOfXl, pipe.unet, (sample, torch.tensor(TIMESTEP), *conditions))
        pipe.text_encoder = pipe.text_encoder_2 = None
    for name, (wrapped, network, inputs) in networks.items():
        wrapper = wrapped()
        wrapper.network = network
        with torch.inference_mode():
            model = openvino.convert_model(
                wrapper.eval(), example_input=inputs, input=[list(tensor.shape) for tensor in inputs]
            )
        openvino.save_model(model, output / f"{name}.xml", compress_to_fp16=_is_narrow(folder))
    (output / TOKENS).write_text(json.dumps(tokenized.input_ids), encoding="utf-8")


def _is_narrow(folder: Path) -> bool:
    """Whether the checkpoint's weights are of 16 bits, so that nothing is lost in a file of 16 bits."""
    safetensors: Any = importlib.import_module("safetensors")
    (file,) = (folder / "unet").glob("*.safetensors")
    with safetensors.safe_open(file, "pt") as tensors:
        return all(tensors.get_slice(name).get_dtype() == "F16" for name in tensors.keys())  # noqa: SIM118


if __name__ == "__main__":
    main(*sys.argv[1:])
