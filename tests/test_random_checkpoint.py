"""The writer of random checkpoints, judged by the package's own strict loader and, where there is one, by diffusers."""

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sd_rbee.backend import native
from tools.random_checkpoint import PRESETS, CheckpointConfig, Dtype, specs, write_checkpoint
from tools.random_checkpoint.config import DTYPES
from tools.random_checkpoint.json_configs import json_configs

UNET = "unet/diffusion_pytorch_model.safetensors"
TINY, TINY_V2, TINY_XL = PRESETS["tiny"], PRESETS["tiny-v2"], PRESETS["tiny-xl"]
# Everything that the presets have alike, made different.
UNUSUAL = {
    "blocks in any order": replace(
        TINY,
        unet=replace(
            TINY.unet,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=(1, 2, 1, 3),
            transformer_layers_per_block=(1, 2, 1, 3),
            block_out_channels=(8, 4, 16, 12),
        ),
    ),
    "no middle, two levels, eight latent channels": replace(
        TINY_V2,
        unet=replace(
            TINY_V2.unet,
            in_channels=8,
            out_channels=8,
            mid_block_type=None,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(1, 4),
        ),
        vae=replace(TINY_V2.vae, latent_channels=8, block_out_channels=(4, 8), layers_per_block=2),
    ),
    "bare VAE, names of transformers 5": replace(
        TINY,
        text_encoder_prefix="",
        vae=replace(
            TINY.vae, use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False, scaling_factor=0.5
        ),
        tokenizer=replace(TINY.tokenizer, vocab_size=514),
        text_encoder=replace(TINY.text_encoder, max_position_embeddings=20),
    ),
}


def read_safetensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Dtype, shape and bytes of every tensor."""
    contents = path.read_bytes()
    start = 8 + int.from_bytes(contents[:8], "little")
    header = json.loads(contents[8:start])
    del header["__metadata__"]
    return {
        name: (entry["dtype"], entry["shape"], contents[start:][slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


def draw(folder: Path, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pipe = native.Pipeline.load(str(folder), device="cpu", dtype="f32")
    made = pipe.generate("A robot, 3 ünïcödé 🤖", num_inference_steps=2, seed=3, height=height, width=width)
    return np.asarray(made.images[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("preset", ["tiny", "tiny-v2", "tiny-turbo", "tiny-xl", "tiny-xl-turbo"])
def test_loads_strictly_and_draws(preset: str, dtype: Dtype, tmp_path: Path) -> None:
    write_checkpoint(replace(PRESETS[preset], dtype=dtype), tmp_path)
    pipe = native.Pipeline.load(str(tmp_path), device="cpu", dtype="f32")
    assert {part.stored_dtype for part in pipe.residency} == {dtype}
    assert pipe.prediction_type == PRESETS[preset].scheduler.prediction_type
    assert (pipe.defaults["guidance_scale"] == 0) == preset.endswith("turbo")
    for height, width in ((64, 64), (32, 64)):
        pixels = draw(tmp_path, height=height, width=width)
        assert pixels.shape == (height, width, 3)
        # Neither blown up to black and white nor flattened to one grey.
        assert 20 < pixels.std() < 120


@pytest.mark.parametrize("preset", ["tiny-inpaint", "tiny-v2-inpaint", "tiny-xl-inpaint"])
def test_inpainting_nets_load_strictly_and_inpaint(preset: str, tmp_path: Path) -> None:
    pipe = native.Pipeline.load(str(write_checkpoint(PRESETS[preset], tmp_path)), device="cpu", dtype="f32")
    assert pipe.tasks == ["inpaint"]
    image, mask = np.full((32, 48, 3), 128, np.uint8), np.full((32, 48), 255, np.uint8)
    made = pipe.generate("a robot", image=image.data, mask_image=mask.data, num_inference_steps=2)
    assert np.asarray(made.images[0]).std() > 20


def test_the_index_names_the_pipeline() -> None:
    names = {name: json_configs(config)["model_index.json"]["_class_name"] for name, config in PRESETS.items()}
    assert names["v1-5"] == names["tiny-v2"] == "StableDiffusionPipeline"
    assert names["tiny-inpaint"] == names["tiny-v2-inpaint"] == "StableDiffusionInpaintPipeline"
    assert names["xl"] == names["tiny-xl-turbo"] == "StableDiffusionXLPipeline"
    assert names["tiny-xl-inpaint"] == "StableDiffusionXLInpaintPipeline"


@pytest.mark.parametrize(
    ("preset", "parameters"), [("v1-5", 859_520_964), ("v2-1", 865_910_724), ("xl", 2_567_463_684)]
)
def test_unets_are_as_large_as_the_published_ones(preset: str, parameters: int) -> None:
    assert sum(prod(spec.shape) for spec in specs(PRESETS[preset])[UNET]) == parameters


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_shapes_load_strictly_and_draw(case: str, tmp_path: Path) -> None:
    write_checkpoint(UNUSUAL[case], tmp_path)
    assert draw(tmp_path, height=32, width=48).std() > 20


def test_activations_keep_their_size(tmp_path: Path) -> None:
    pipe = native.Pipeline.load(str(write_checkpoint(TINY, tmp_path)), device="cpu", dtype="f32")
    latents = native.Generator(0).randn((1, 4, 8, 8))
    embeddings = pipe.encode_prompt("a robot")
    outputs = {
        "text encoder": embeddings,
        "unet": pipe.predict(latents, 500.0, embeddings),
        "vae": pipe.vae_decode(latents),
    }
    assert {name for name, output in outputs.items() if not 0.1 < np.asarray(output).std() < 10} == set()


def test_seed_decides_the_weights(tmp_path: Path) -> None:
    paths = [
        write_checkpoint(TINY, tmp_path / name, seed=seed) for name, seed in (("one", 1), ("again", 1), ("two", 2))
    ]
    one, again, two = ((path / UNET).read_bytes() for path in paths)
    assert one == again
    assert one != two


def test_a_value_depends_on_its_name_alone(tmp_path: Path) -> None:
    deeper = replace(TINY, unet=replace(TINY.unet, layers_per_block=2))
    small = read_safetensors(write_checkpoint(TINY, tmp_path / "small") / UNET)
    large = read_safetensors(write_checkpoint(deeper, tmp_path / "large") / UNET)
    name = "mid_block.resnets.0.conv1.weight"
    assert small[name] == large[name]


def test_dtypes_are_the_same_values_rounded_to_nearest(tmp_path: Path) -> None:
    f32, f16, bf16 = (
        read_safetensors(write_checkpoint(replace(TINY, dtype=dtype), tmp_path / dtype) / UNET) for dtype in DTYPES
    )
    for name, (_, shape, stored) in f32.items():
        values = np.frombuffer(stored, np.float32)
        assert f16[name] == ("F16", shape, values.astype(np.float16).tobytes())
        dtype, _, halves = bf16[name]
        assert dtype == "BF16"
        rounded = (np.frombuffer(halves, np.uint16).astype(np.uint32) << 16).view(np.float32)
        # Half of the distance between neighbours with 8 significant bits.
        assert np.all(np.abs(rounded - values) <= np.exp2(np.floor(np.log2(np.abs(values))) - 8))


def test_vocabulary_is_as_large_as_asked_for(tmp_path: Path) -> None:
    config = replace(TINY, tokenizer=replace(TINY.tokenizer, vocab_size=49_408))
    folder = write_checkpoint(config, tmp_path)
    vocabulary = json.loads((folder / "tokenizer/vocab.json").read_text(encoding="utf-8"))
    assert sorted(vocabulary.values()) == list(range(49_408))
    assert (vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"], vocabulary["!"]) == (49_406, 49_407, 0)
    ids = native.Tokenizer(str(folder / "tokenizer")).encode("robot")
    assert "".join(list(vocabulary)[index] for index in ids) == "robot</w>"
    assert len(ids) < 5


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (replace(TINY, unet=replace(TINY.unet, layers_per_block=(1, 2))), "layers_per_block"),
        (replace(TINY, unet=replace(TINY.unet, up_block_types=("UpBlock2D",))), "up_block_types"),
        (replace(TINY, unet=replace(TINY.unet, down_block_types=("Other",) * 4)), "down_block_types"),
        (replace(TINY, tokenizer=replace(TINY.tokenizer, vocab_size=513)), "vocab_size"),
        (
            replace(TINY_XL, unet=replace(TINY_XL.unet, projection_class_embeddings_input_dim=48)),
            "projection_class_embeddings_input_dim",
        ),
    ],
)
def test_contradictions_are_named_and_leave_no_index(config: CheckpointConfig, field: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{field}: got .* allowed "):
        write_checkpoint(config, tmp_path)
    assert not (tmp_path / "model_index.json").exists()


def test_refuses_what_it_would_overwrite(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="folder"):
        write_checkpoint(TINY, tmp_path)
    with pytest.raises(ValueError, match="seed"):
        write_checkpoint(TINY, tmp_path / "new", seed=-1)


@pytest.mark.parity
@pytest.mark.parametrize("name", [*PRESETS, *UNUSUAL])
def test_names_and_shapes_are_those_of_diffusers(name: str) -> None:
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    config = {**PRESETS, **UNUSUAL}[name]
    configs = json_configs(config)
    unet, vae = ({k: v for k, v in configs[f"{part}/config.json"].items() if k[0] != "_"} for part in ("unet", "vae"))
    kinds = {"text_encoder": transformers.CLIPTextModel, "text_encoder_2": transformers.CLIPTextModelWithProjection}
    with torch.device("meta"):
        networks = {
            "unet": diffusers.UNet2DConditionModel(**unet),
            "vae": diffusers.AutoencoderKL(**vae),
            **{
                part: kind(transformers.CLIPTextConfig(**configs[f"{part}/config.json"]))
                for part, kind in kinds.items()
                if f"{part}/config.json" in configs
            },
        }
    for path, tensors in specs(config).items():
        expected = {key: tuple(value.shape) for key, value in networks[path.split("/")[0]].state_dict().items()}
        assert {spec.name.removeprefix("text_model."): spec.shape for spec in tensors} == {
            key.removeprefix("text_model."): shape for key, shape in expected.items()
        }


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("tiny")])
def test_diffusers_loads_it_whole(name: str, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    folder = write_checkpoint(PRESETS[name], tmp_path)
    classes = {
        "unet": diffusers.UNet2DConditionModel,
        "vae": diffusers.AutoencoderKL,
        "text_encoder": transformers.CLIPTextModel,
        "text_encoder_2": transformers.CLIPTextModelWithProjection,
    }
    for part, kind in classes.items():
        if (folder / part).is_dir():
            _, loading = kind.from_pretrained(folder / part, output_loading_info=True)
            assert {problem: list(keys) for problem, keys in loading.items() if keys} == {}
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    assert type(pipe).__name__ == json.loads((folder / "model_index.json").read_text())["_class_name"]
    assert type(pipe.scheduler).__name__ == PRESETS[name].scheduler.class_name


@pytest.mark.parity
@pytest.mark.parametrize("name", ["tiny", "tiny-v2", "tiny-turbo", "tiny-xl", "tiny-xl-turbo"])
def test_diffusers_draws(name: str, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    pipe = diffusers.DiffusionPipeline.from_pretrained(write_checkpoint(PRESETS[name], tmp_path))
    pixels = pipe("a robot", num_inference_steps=2, output_type="np").images
    assert pixels.shape == (1, 64, 64, 3)
    assert pixels.std() > 0.1
