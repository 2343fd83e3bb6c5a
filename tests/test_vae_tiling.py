"""The VAE in tiles, and in a dtype that holds its values."""

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sd_rbee import Cancelled, CancelToken, InvalidParamsError, Pipeline
from sd_rbee.backend import native
from sd_rbee.spec import GenerationParameters, GenerationSpec
from support import copy_model, pixels, pollen, read_safetensors, small, write_safetensors
from tools.random_checkpoint import TinyVaeConfig, write_vae

# Of values of -1 to 1; a step of a picture's is 1/127.5.
ROUNDING = 1e-4


def large(**changes: object) -> GenerationParameters:
    """Parameters of a picture in which tiles of 512 pixels meet in both directions."""
    return small(**{"height": 528, "width": 1040, "num_inference_steps": 1, "guidance_scale": 1.0, **changes})


def latents(height: int, width: int) -> NDArray[np.float32]:
    """What a VAE is given: patches of noise, left and right half of different strength."""
    noise = np.asarray(native.Generator(5).randn([1, 8, height // 2, width // 2])).repeat(2, 2).repeat(2, 3)
    noise[..., width // 2 :] *= 0.2
    return noise


def is_seamless(difference: NDArray[np.float32], borders: tuple[int, int]) -> bool:
    """Whether the difference (channels, height, width) jumps at no border more than elsewhere."""
    for axis, border in zip((1, 2), borders, strict=True):
        jumps = np.abs(np.diff(difference, axis=axis)).mean(axis=(0, 3 - axis))
        if jumps[border - 1] > jumps.max() * 0.999 and jumps[border - 1] > 2 * np.sort(jumps)[-2]:
            return False
    return True


def test_tiles_are_the_whole() -> None:
    engine = pollen().native_pipeline
    given = latents(66, 130)
    whole, tiled = np.asarray(engine.vae_decode(given.data)), np.asarray(engine.vae_decode(given.data, tiled=True))
    assert not np.array_equal(whole, tiled), "no tiles"
    assert np.abs(whole - tiled).max() < ROUNDING
    assert is_seamless((whole - tiled)[0], (264, 520))
    mode, in_tiles = np.asarray(engine.vae_encode(whole.data)), np.asarray(engine.vae_encode(whole.data, tiled=True))
    assert not np.array_equal(mode, in_tiles), "no tiles"
    assert np.abs(mode - in_tiles).max() < ROUNDING * np.abs(mode).max()


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_a_tiny_autoencoders_tiles_are_the_whole(levels: int, tmp_path: Path) -> None:
    tiny = TinyVaeConfig(
        latent_channels=8,
        encoder_block_out_channels=(8,) * levels,
        decoder_block_out_channels=(8,) * levels,
        num_encoder_blocks=(1,) * levels,
        num_decoder_blocks=(1,) * levels,
    )
    pipe = Pipeline.load(vae=write_vae(tiny, tmp_path / "tiny"))
    engine, factor = pipe.native_pipeline, pipe.size_multiple
    given = latents(528 // factor, 1040 // factor)
    whole, tiled = np.asarray(engine.vae_decode(given.data)), np.asarray(engine.vae_decode(given.data, tiled=True))
    assert np.abs(whole - tiled).max() < ROUNDING * np.abs(whole).max()
    mode, in_tiles = np.asarray(engine.vae_encode(whole.data)), np.asarray(engine.vae_encode(whole.data, tiled=True))
    assert np.abs(mode - in_tiles).max() < ROUNDING * np.abs(mode).max()


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_pictures_in_tiles_are_the_same_alone_together_and_on_any_threads(dtype: str) -> None:
    both = Pipeline.load(dtype=dtype, num_threads=1).generate(
        "a robot", **large(num_images_per_prompt=2, vae_tiling=True)
    )
    alone = Pipeline.load(dtype=dtype, num_threads=3).generate("a robot", **large(seed=8, vae_tiling=True))
    assert np.array_equal(pixels(both, 1), pixels(alone))
    assert (both.parameters["vae_tiling"], both.warnings) == (True, [])
    whole = Pipeline.load(dtype=dtype).generate("a robot", **large(vae_tiling=False))
    assert whole.parameters["vae_tiling"] is False
    assert np.abs(pixels(both).astype(int) - pixels(whole)).max() <= (1 if dtype == "f32" else 16)
    assert both.peak_memory["decode"] < whole.peak_memory["decode"]


def test_one_tile_is_the_whole() -> None:
    with pytest.warns(UserWarning, match="vae_tiling has no effect up to 512 x 512"):
        made = pollen().generate("a robot", **small(vae_tiling=True))
    assert made.parameters["vae_tiling"] is False
    assert np.array_equal(pixels(made), pixels(pollen().generate("a robot", **small())))


def test_the_candle_engine_has_none() -> None:
    candle = Pipeline.load(engine="candle")
    with pytest.raises(InvalidParamsError, match="vae_tiling: got true, allowed is none or false with the engine ca"):
        candle.generate("a robot", **small(vae_tiling=True))
    candle.generate("a robot", **small(vae_tiling=False))


def test_tiles_are_cancelled() -> None:
    token = CancelToken()
    timer = threading.Timer(0.3, token.cancel)

    def on_step(step: native.Step) -> None:
        if step.phase == "denoise":
            timer.start()

    with pytest.raises(Cancelled):
        pollen().generate("a robot", on_step=on_step, cancel=token, **large(height=2048, width=2048, vae_tiling=True))


@pytest.fixture
def overflowing(tmp_path: Path) -> Path:
    """The embedded model, with a weight that bf16 takes for infinite and that f32 multiplies with zeros alone."""
    folder = copy_model(tmp_path)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    header, data = read_safetensors(file)
    values: dict[str, NDArray[np.float32]] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values[name] = np.frombuffer(data[begin:end], np.float16).astype(np.float32).reshape(entry["shape"])
    values["post_quant_conv.weight"][0] = 0
    values["post_quant_conv.bias"][0] = 0
    values["decoder.conv_in.weight"][3, 0, 0, 0] = 3.4e38
    offset, new = 0, {}
    for name, array in values.items():
        new[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    write_safetensors(file, new, b"".join(array.tobytes() for array in values.values()))
    return folder


def test_a_vae_that_overflows_is_loaded_again_in_f32(overflowing: Path) -> None:
    wide = Pipeline.load(overflowing, dtype="f32").generate("a robot", **small())
    assert wide.warnings == []
    pipe = Pipeline.load(overflowing, dtype="bf16")
    assert [part.dtype for part in pipe.residency] == ["bf16"] * 3
    said = "dtype bf16 has no effect on the vae: its values overflow, so it was loaded again in f32"
    with pytest.warns(UserWarning, match=said):
        first = pipe.generate("a robot", **small())
    assert [part.dtype for part in pipe.residency] == ["bf16", "bf16", "f32"]
    second = pipe.generate("a robot", **small())
    assert (first.warnings, second.warnings) == ([said], [])
    assert np.array_equal(pixels(first), pixels(second))
    assert pixels(first).std() > 10
    assert np.abs(pixels(first).astype(int) - pixels(wide)).mean() < 10


def test_previews_widen_a_vae_too(overflowing: Path) -> None:
    pipe = Pipeline.load(overflowing, dtype="bf16")
    seen: list[NDArray[np.uint8]] = []

    def on_step(step: native.Step) -> None:
        if step.preview is not None:
            seen.append(np.asarray(step.preview))

    spec = GenerationSpec.of("a robot", **small())
    made = pipe.run(spec, on_step=on_step, cancel=CancelToken(), preview_every=1, decode_previews=True)
    assert len(made.warnings) == 1
    # The last step foresees what it then draws, but for a little noise that its schedule leaves.
    assert len(seen) == 2
    assert np.abs(seen[-1].astype(int) - pixels(made)).mean() < 10 < seen[-1].std()
