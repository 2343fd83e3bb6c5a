"""Models in one file, as Stable Diffusion was first published."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sd_rbee import CheckpointError, InvalidParamsError, Pipeline
from sd_rbee.backend import native
from single_files import CONFIGS, write_inpainting_unet, write_model
from support import cli, edit_json, pixels, small
from tools.random_checkpoint import TinyVaeConfig, write_vae
from tools.random_checkpoint.single_file import Tensor, read, unet, vae, write, write_single_file

ZERO: Tensor = ("F32", [1], bytes(4))
UNET, VAE = "model.diffusion_model.", "first_stage_model."
Models = Callable[[str], Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Writes each kind of model once: a folder, and beside it the same as `model.safetensors`."""
    made: dict[str, Path] = {}

    def model(kind: str) -> Path:
        if kind not in made:
            made[kind] = write_model(kind, tmp_path_factory.mktemp(kind) / "folder")
            write_single_file(made[kind], made[kind].with_name("model.safetensors"))
        return made[kind]

    return model


def file(folder: Path) -> Path:
    return folder.with_name("model.safetensors")


def draw(path: Path, **options: str) -> np.ndarray:
    pipe = Pipeline.load(path, "cpu", "f32", **options)  # type: ignore[arg-type]
    return pixels(pipe.generate("A robot, painted in oil", **small(height=32, width=40, negative_prompt="blurry")))


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_file_draws_what_its_folder_draws(kind: str, models: Models) -> None:
    folder = models(kind)
    whole, single = (Pipeline.load(path, "cpu", "f32") for path in (folder, file(folder)))
    assert np.array_equal(draw(folder), draw(file(folder)))
    assert single.model == "model.safetensors"
    assert single.defaults == whole.defaults
    assert single.native_pipeline.prediction_type == whole.native_pipeline.prediction_type
    told = [
        [(part.component, part.stored_dtype, part.tensors, part.bytes) for part in pipe.residency]
        for pipe in (single, whole)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("kind", CONFIGS)
def test_tokens_are_clips(kind: str, models: Models) -> None:
    whole, single = (native.Pipeline.load(str(path), device="cpu") for path in (models(kind), file(models(kind))))
    for text in ("", "a robot", "Ünïcödé 🤖 <|endoftext|> x", "word " * 100):
        assert single.tokenize(text) == whole.tokenize(text)


def test_a_file_that_paints_into_pictures_is_known(tmp_path: Path) -> None:
    folder = write_model("v1", tmp_path / "folder")
    write_inpainting_unet(folder)
    image, mask = np.full((32, 40, 3), 90, np.uint8), np.zeros((32, 40), np.uint8)
    mask[8:, 16:] = 255

    def paint(path: Path) -> np.ndarray:
        pipe = native.Pipeline.load(str(path), device="cpu", dtype="f32")
        made = pipe.generate("a robot", image=image.data, mask_image=mask.data, num_inference_steps=2, seed=3)
        return np.asarray(made.images[0])

    painted = paint(folder)
    assert np.array_equal(paint(write_single_file(folder, tmp_path / "a.safetensors")), painted)
    assert not np.array_equal(painted, image)


def test_the_header_says_what_the_unet_predicts(models: Models, tmp_path: Path) -> None:
    def predicts(kind: str, metadata: dict[str, str], extra: dict[str, Tensor] | None = None) -> tuple[str, int]:
        path = write_single_file(models(kind), tmp_path / "a.safetensors", metadata=metadata, extra=extra)
        pipe = native.Pipeline.load(str(path), device="cpu")
        return pipe.prediction_type, pipe.defaults["height"]

    assert predicts("v1", {"modelspec.prediction_type": "v"}) == ("v_prediction", 512)
    assert predicts("v2", {"modelspec.prediction_type": "epsilon"}) == ("epsilon", 512)
    assert predicts("v2", {"modelspec.architecture": "stable-diffusion-v2-512"}) == ("epsilon", 512)
    assert predicts("v2", {"modelspec.architecture": "stable-diffusion-v2-768-v"}) == ("v_prediction", 768)
    assert predicts("v2", {}, {"global_step": ("I64", [], (875_000).to_bytes(8, "little"))}) == ("epsilon", 512)
    assert predicts("xl", {}, {"v_pred": ZERO, "ztsnr": ZERO}) == ("v_prediction", 1024)


def test_the_prediction_type_of_a_file_and_of_a_folder_can_be_said(models: Models) -> None:
    for path in (models("v2"), file(models("v2"))):
        pipe = native.Pipeline.load(str(path), device="cpu", prediction_type="epsilon")
        assert pipe.prediction_type == "epsilon"
        assert not np.array_equal(draw(path), draw(path, prediction_type="epsilon"))
    with pytest.raises(InvalidParamsError, match="prediction_type: got v, allowed is epsilon, sample, v_prediction"):
        Pipeline.load(models("v2"), prediction_type="v")
    with pytest.raises(InvalidParamsError, match="variant: got fp16, allowed is none for a single file"):
        Pipeline.load(file(models("v2")), variant="fp16")


@pytest.mark.parametrize(
    "said", [{"modelspec.architecture": "stable-diffusion-xl-turbo-v1"}, {"modelspec.title": "SDXL Turbo 1.0"}]
)
def test_turbo_models_draw_in_few_steps(said: dict[str, str], models: Models, tmp_path: Path) -> None:
    pipe = Pipeline.load(write_single_file(models("xl"), tmp_path / "a.safetensors", metadata=said), "cpu")
    wanted = {"height": 512, "width": 512, "num_inference_steps": 4, "guidance_scale": 0.0, "scheduler": "euler"}
    assert pipe.defaults == wanted


@pytest.mark.parametrize("form", ["latent diffusion's", "with its prefix", "in a model", "diffusers'"])
def test_a_vae_may_be_a_file(form: str, models: Models, tmp_path: Path) -> None:
    path, stored = tmp_path / "a.safetensors", read(models("v1") / "vae")
    match form:
        case "latent diffusion's":
            write(path, {**vae(stored), "loss.logvar": ZERO})
        case "with its prefix":
            write(path, {VAE + name: tensor for name, tensor in vae(stored).items()})
        case "in a model":
            path = file(models("v1"))
        case _:
            write(path, stored)
    assert Pipeline.load(models("v1"), vae=path).vae == path.name
    assert np.array_equal(draw(models("v1"), vae=str(path), preview_vae=str(path)), draw(models("v1")))


def test_a_vae_in_a_file_has_the_scale_of_its_model(models: Models, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models("v1") / "vae", tmp_path / "vae"))
    single = tmp_path / "a.safetensors"
    write(single, vae(read(folder)))
    edit_json(folder / "config.json", scaling_factor=0.13025)
    for xl in (models("xl"), file(models("xl"))):
        assert np.array_equal(draw(xl, vae=str(single)), draw(xl, vae=str(folder)))
    assert not np.array_equal(draw(models("v1"), vae=str(single)), draw(models("v1"), vae=str(folder)))


def test_a_tiny_vae_may_be_a_file(models: Models, tmp_path: Path) -> None:
    folder = write_vae(TinyVaeConfig(), tmp_path / "taesd")
    single = folder / "diffusion_pytorch_model.safetensors"
    assert np.array_equal(draw(models("v1"), vae=str(single)), draw(models("v1"), vae=str(folder)))


def test_a_model_may_lack_its_vae(models: Models, tmp_path: Path) -> None:
    path = write_single_file(models("v1"), tmp_path / "a.safetensors", without="vae")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: has no vae; give one as vae"):
        Pipeline.load(path)
    assert np.array_equal(draw(path, vae=str(models("v1") / "vae")), draw(models("v1")))


def test_tensors_are_named_as_in_the_file(models: Models, tmp_path: Path) -> None:
    path, tensors = tmp_path / "a.safetensors", read(file(models("v2")))
    lost, odd = f"{UNET}input_blocks.2.0.in_layers.2.weight", f"{UNET}output_blocks.2.1.conv.bias"
    fused = "cond_stage_model.model.transformer.resblocks.1.attn.in_proj_bias"
    del tensors[lost]
    write(path, {**tensors, odd: ZERO, f"{UNET}time_embed.7": ZERO})
    with pytest.raises(CheckpointError) as told:
        Pipeline.load(path)
    lines = [line.strip() for line in str(told.value).splitlines()]
    assert lines[1:] == [
        f"missing: {lost} [64, 64, 3, 3]",
        f"misshapen: {odd} is [1], the configuration asks for [128]",
        f"unexpected: {UNET}time_embed.7",
    ]
    del tensors[f"{UNET}input_blocks.0.0.weight"]
    write(path, tensors)
    with pytest.raises(
        CheckpointError, match=f"unet: its shape cannot be told .*: there is no {UNET}input_blocks.0.0.wei"
    ):
        Pipeline.load(path)
    write(path, {**read(file(models("v2"))), fused: ZERO})
    with pytest.raises(CheckpointError, match=f'"{fused}" is .1., which cannot be 3 equal parts'):
        Pipeline.load(path)
    write(path, {**read(file(models("v2"))), "stranger.weight": ZERO})
    with pytest.raises(
        CheckpointError, match=r'a.safetensors: 1 tensors belong to no component: \["stranger.weight"\]'
    ):
        Pipeline.load(path)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"], "is a LoRA, which changes a model"),
        (["unet.down_blocks.0.attentions.0.proj_in.lora_A.weight"], "is a LoRA, which changes a model"),
        (["lora_unet_mid.hada_w1_a"], "is a LoRA"),
        (["control_model.input_blocks.0.0.weight"], "is a ControlNet, which guides a model"),
        (["controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"], "is a ControlNet"),
        (["emb_params"], "is a textual inversion, which adds words"),
        (["clip_g", "clip_l"], "is a textual inversion, which adds words"),
        (["model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale"], "is a Flux model"),
        (["model.diffusion_model.joint_blocks.0.context_block.mlp.fc1.bias"], "is a Stable Diffusion 3 model"),
        (["decoder.up.0.block.0.conv1.weight"], "is a VAE by itself, which `vae` takes"),
        (["input_blocks.0.0.weight"], "is a UNet by itself"),
        (["text_model.final_layer_norm.bias"], "is a text encoder by itself"),
        (["something"], r'is no model that is known here; its tensors begin with \["something"\]'),
        ([], "is no model that is known here"),
    ],
)
def test_what_is_no_model_is_named(names: list[str], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "anything.safetensors"
    write(path, dict.fromkeys(names, ZERO))
    with pytest.raises(CheckpointError, match=f"anything.safetensors: {reason}"):
        Pipeline.load(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.ckpt", b"PK\x03\x04" + bytes(40), "is a pickle, which can run code when it is read"),
        ("a.safetensors", b"\x80\x02}q\x00X\x0a" + bytes(40), "is a pickle"),
        ("a.pt", b"anything at all", "is a pickle"),
        ("a.gguf", b"GGUF" + bytes(40), "is a GGUF file; only safetensors is read"),
        ("a.safetensors", b"", "is empty"),
        ("a.safetensors", b"anything at all", "is not a safetensors file"),
        ("a.safetensors", (1000).to_bytes(8, "little") + b"{}", "is truncated"),
    ],
)
def test_other_formats_are_refused(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: {reason}"):
        Pipeline.load(path)
    with pytest.raises(CheckpointError, match=f"{name}: {reason}"):
        Pipeline.load(vae=path)


def test_a_truncated_file_is_refused(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file(models("v1")).read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: is truncated"):
        Pipeline.load(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_any_other_header_is_refused_or_loads(data: st.DataObject, models: Models, tmp_path: Path) -> None:
    tensors = read(file(models(data.draw(st.sampled_from(sorted(CONFIGS))))))
    names = sorted(tensors)
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)):
        tensor = tensors.pop(name)
        match data.draw(st.sampled_from(["lost", "renamed", "flat", "empty", "scalar"])):
            case "renamed":
                # Another number somewhere in the name: other blocks, layers and levels.
                digit = data.draw(st.sampled_from(["0", "1", "7", "99999999999999999999", "x", ""]))
                tensors[re.sub(r"\d+", digit, name, count=data.draw(st.integers(1, 3)))] = tensor
            case "flat":
                tensors[name] = ("U8", [len(tensor[2])], tensor[2])
            case "empty":
                tensors[name] = ("F16", [0, *tensor[1][1:]], b"")
            case "scalar":
                tensors[name] = ZERO
    path = tmp_path / "a.safetensors"
    write(path, tensors)
    with contextlib.suppress(CheckpointError):
        Pipeline.load(path, "cpu", "f32")


def test_a_bare_unet_is_none(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write(path, unet(read(models("v1") / "unet")))
    with pytest.raises(CheckpointError, match="is a UNet by itself; a model has a text encoder and a VAE too"):
        Pipeline.load(path)


def test_the_command_line_takes_files(models: Models, tmp_path: Path) -> None:
    arguments = ["--model", str(file(models("v1"))), "--steps", "1", "--width", "32", "--height", "32", "--json"]
    made = cli("generate", "a robot", *arguments, "--prediction-type", "v_prediction", "-o", tmp_path / "a.png")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["parameters"]["model"] == "model.safetensors"
    failed = cli("generate", "a robot", *arguments, "--prediction-type", "x")
    assert failed.stderr.startswith("sd-rbee: --prediction-type: got x, allowed is epsilon, sample, v_prediction")


def test_a_variant_is_preferred_where_it_is_there(models: Models, tmp_path: Path) -> None:
    folder = write_model("v1", tmp_path / "folder")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    other = write_model("v1", tmp_path / "other", seed=1)
    (other / weights.relative_to(folder)).rename(weights.with_name("diffusion_pytorch_model.non_ema.safetensors"))
    assert np.array_equal(draw(folder), draw(models("v1")))
    assert not np.array_equal(draw(folder, variant="non_ema"), draw(folder))
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert np.array_equal(draw(folder), draw(folder, variant="fp16"))
    for variant, reason in (("bf16", "one that the model's files have"), ("../x", "a part of a file's name")):
        with pytest.raises(InvalidParamsError, match=f"variant: got {variant}, allowed is {reason}"):
            Pipeline.load(folder, variant=variant)
