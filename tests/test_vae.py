"""Autoencoders instead of the model's own, and for previews."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import sd_rbee
from sd_rbee import CheckpointError, InvalidParamsError, ModelNotFoundError, Pipeline
from sd_rbee.backend import native
from sd_rbee.cli.serve import serve
from sd_rbee.cli.worker_settings import Flags, worker_settings
from sd_rbee.spec import GenerationSpec
from support import POLLEN, draw, edit_json, pixels, pollen, small
from tools.random_checkpoint import PRESETS, TinyVaeConfig, write_checkpoint, write_vae

WEIGHTS = "diffusion_pytorch_model.safetensors"
# The embedded model's latents have eight channels.
TINY = TinyVaeConfig(
    latent_channels=8, encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8)
)


@pytest.fixture
def taesd(tmp_path: Path) -> Path:
    """A tiny autoencoder for the embedded model."""
    return write_vae(TINY, tmp_path / "taesd", dtype="f16")


def previews(pipe: Pipeline, *, decode: bool = False) -> list[NDArray[np.uint8]]:
    """What a small picture looks like after each of its steps."""
    seen: list[NDArray[np.uint8]] = []

    def on_step(step: native.Step) -> None:
        if step.preview is not None:
            seen.append(np.asarray(step.preview))

    spec = GenerationSpec.of("a robot", **small())
    pipe.run(spec, on_step=on_step, cancel=native.CancelToken(), preview_every=1, decode_previews=decode)
    return seen


def test_a_tiny_autoencoder_draws(taesd: Path) -> None:
    pipe = Pipeline.load(vae=taesd)
    drawn = pipe.generate("a robot", **small())
    plain = pollen().generate("a robot", **small())
    assert drawn.images[0].size == plain.images[0].size
    assert not np.array_equal(pixels(drawn), pixels(plain))
    assert (pipe.vae, drawn.parameters["vae"], pollen().vae, plain.parameters["vae"]) == ("taesd", "taesd", None, None)
    assert ", VAE: taesd," in drawn.images[0].info["parameters"]
    assert json.loads(drawn.images[0].info["sd-rbee"])["vae"] == "taesd"
    told = {part.component: (part.stored_dtype, part.tensors) for part in pipe.residency}
    assert told["vae"] == ("f16", 2 * 2 + 3 + 10 * 3 * 2), "the decoder's alone"


def test_the_encoder_is_loaded_with_the_first_image_to_encode(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(POLLEN, model)
    pipe = Pipeline.load(model)

    def held() -> tuple[int, int]:
        (vae,) = (part for part in pipe.residency if part.component == "vae")
        return vae.tensors, vae.bytes

    image = Image.new("RGB", (24, 16), "teal")
    spec = small(image=image)
    (decoder, bytes_of_decoder) = held()
    expected = pollen().generate("a robot", **spec)
    pipe.generate("a robot", **small())
    assert held() == (decoder, bytes_of_decoder)
    # What was not read yet is read from the files that were there when the model was loaded.
    shutil.rmtree(model)
    drawn = pipe.generate("a robot", **spec)
    (both, bytes_of_both) = held()
    assert decoder < both < 2 * decoder
    assert bytes_of_decoder < bytes_of_both < 2 * bytes_of_decoder
    assert np.array_equal(pixels(drawn), pixels(expected))
    pipe.generate("a robot", **spec)
    assert held() == (both, bytes_of_both)


def test_the_models_own_vae_from_its_folder_is_the_same() -> None:
    drawn = sd_rbee.generate("a robot", vae=POLLEN / "vae", **small())
    assert np.array_equal(pixels(drawn), pixels(pollen().generate("a robot", **small())))
    assert drawn.parameters["vae"] == "vae"


def test_a_models_own_vae_may_be_tiny(tmp_path: Path) -> None:
    config = replace(PRESETS["tiny"], tiny_vae=TinyVaeConfig())
    folder = write_checkpoint(config, tmp_path / "model")
    pipe = Pipeline.load(folder)
    assert pipe.size_multiple == 8
    assert pipe.generate("a robot", **small()).parameters["vae"] is None
    edit_json(folder / "model_index.json", vae=["diffusers", "AutoencoderKL"])
    with pytest.raises(CheckpointError, match="vae: block_out_channels"):
        Pipeline.load(folder)
    edit_json(folder / "model_index.json", vae=["diffusers", "VQModel"])
    with pytest.raises(CheckpointError, match="vae: the class is VQModel, supported is AutoencoderKL or Autoenc"):
        Pipeline.load(folder)


def test_encoding_has_no_noise(taesd: Path) -> None:
    engine = Pipeline.load(vae=taesd).native_pipeline
    image = native.Generator(0).randn([1, 3, 16, 24])
    mode, sample = engine.vae_encode(image), engine.vae_encode(image, seed=1)
    assert np.asarray(mode).shape == (1, 8, 2, 3)
    assert np.array_equal(mode, sample)


def test_the_candle_engine_takes_one_too(taesd: Path) -> None:
    ours = Pipeline.load(vae=taesd).generate("a robot", **small())
    candle = Pipeline.load(vae=taesd, engine="candle").generate("a robot", **small())
    assert np.abs(pixels(ours).astype(int) - pixels(candle)).max() <= 2


@pytest.mark.parametrize("field", ["vae", "preview_vae"])
def test_what_does_not_fit_is_named(field: str, tmp_path: Path) -> None:
    def refused(match: str, folder: Path) -> None:
        with pytest.raises(CheckpointError, match=match):
            Pipeline.load(vae=folder if field == "vae" else None, preview_vae=folder if field != "vae" else None)

    folder = write_vae(replace(TINY, latent_channels=4), tmp_path / "four")
    expected = {
        "vae": "unet: in_channels is 8, but vae: latent_channels is 4",
        "preview_vae": "preview_vae: latent_channels is 4, but vae: latent_channels is 8",
    }
    refused(expected[field], folder)
    folder = write_vae(TINY, tmp_path / "deeper")
    edit_json(folder / "config.json", num_decoder_blocks=[3, 3, 3, 2])
    refused(rf"^{field}: \d+ tensors do not fit(.|\n)*missing: decoder.layers.18.conv.0.weight \[8, 8, 3, 3\]", folder)
    edit_json(folder / "config.json", num_decoder_blocks=[3, 3, 3, 1], act_fn="gelu")
    refused(f"^{field}: act_fn", folder)
    (folder / WEIGHTS).unlink()
    edit_json(folder / "config.json", act_fn="relu")
    refused(f"^{field}: has no weights", folder)
    (folder / "config.json").unlink()
    refused(f"^{field}/config.json: there is no such file", folder)


def test_a_preview_of_another_factor_is_refused(tmp_path: Path) -> None:
    shallow = TinyVaeConfig(
        latent_channels=8,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    folder = write_vae(shallow, tmp_path / "shallow")
    with pytest.raises(CheckpointError, match="preview_vae: the factor is 2, but the vae's is 8"):
        Pipeline.load(preview_vae=folder)
    # As the VAE itself it is only another model's.
    assert Pipeline.load(vae=folder).size_multiple == 2


@pytest.mark.parametrize("load", [lambda **vaes: Pipeline.load(**vaes), lambda **vaes: sd_rbee.generate("", **vaes)])
def test_paths_of_nothing(load: Callable[..., object], tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"vae: no existing path '.*nowhere'"):
        load(vae=tmp_path / "nowhere")
    with pytest.raises(InvalidParamsError, match="vae: got int, allowed is a path"):
        load(vae=7)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"/file: is empty"):
        load(vae=tmp_path / "file")


def test_previews_are_decoded_by_a_preview_vae(taesd: Path) -> None:
    estimated = previews(pollen())
    assert [preview.shape for preview in estimated] == [(2, 3, 3)] * 2
    pipe = Pipeline.load(preview_vae=taesd)
    decoded = previews(pipe)
    assert [preview.shape for preview in decoded] == [(16, 24, 3)] * 2
    for ours, theirs in zip(decoded, previews(Pipeline.load(vae=taesd), decode=True), strict=True):
        assert np.array_equal(ours, theirs)
    for ours, theirs in zip(previews(pipe, decode=True), previews(pollen(), decode=True), strict=True):
        assert np.array_equal(ours, theirs), "the VAE's own, where they are asked for"
    assert np.array_equal(
        pixels(pipe.generate("a robot", **small())), pixels(pollen().generate("a robot", **small()))
    ), "the picture is the VAE's"
    assert [part.component for part in pipe.residency] == ["text_encoder", "unet", "vae", "preview_vae"]


def test_the_command_takes_a_vae(taesd: Path, tmp_path: Path) -> None:
    shutil.move(taesd, tmp_path / "my vae")
    done = draw("--vae", tmp_path / "my vae", "--json", "-o", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"]["vae"] == "my vae"
    done = draw("--vae", tmp_path / "nowhere")
    assert done.returncode != 0
    assert "vae: no existing path" in done.stderr


def test_the_worker_takes_both(taesd: Path) -> None:
    def settings(*flags: str) -> tuple[str | None, str | None]:
        made = worker_settings(Flags(**serve.make_context("serve", list(flags)).params), ("auto", "cpu"))
        return made.vae, made.preview_vae

    assert settings() == (None, None)
    assert settings("--vae", str(POLLEN / "vae"), "--preview-vae", str(taesd)) == (str(POLLEN / "vae"), str(taesd))
    with pytest.raises(ModelNotFoundError, match="preview_vae: no existing path"):
        settings("--preview-vae", "nowhere/at/all")
