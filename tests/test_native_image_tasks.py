"""Image-to-image and inpainting at the engine's door, with UNets that take a mask and ones that do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sd_rbee import CheckpointError, InvalidParamsError, models
from sd_rbee.backend import native
from tiny_models import write_tiny_model
from tools.random_checkpoint import TinyVaeConfig

_SMALL: dict[str, Any] = {"prompt": "a robot", "num_inference_steps": 4, "seed": 5}
# Of latents alone, and with a mask and the masked picture's.
_LATENTS, _TOLD = 4, 9


def _load(folder: Path, engine: str = "native") -> native.Pipeline:
    return native.Pipeline.load(str(folder), device="cpu", dtype="f32", engine=engine)


@pytest.fixture(scope="module", params=[_LATENTS, _TOLD])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "model", request.param)


def _picture(height: int = 24, width: int = 16) -> memoryview:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8).data


def _mask(height: int = 24, width: int = 16) -> memoryview:
    """The right half."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 255
    return mask.data


_TASKS: dict[str, dict[str, Any]] = {
    "text-to-image": {},
    "image-to-image": {"image": _picture()},
    "inpaint": {"image": _picture(), "mask_image": _mask()},
}


def _pixels(generation: native.Generation) -> list[NDArray[np.uint8]]:
    return [np.asarray(image) for image in generation.images]


def test_an_image_holds_the_pixels_that_it_was_given() -> None:
    pixels = _picture(3, 5)
    image = native.Image(pixels)
    assert (image.width, image.height) == (5, 3)
    assert np.array_equal(np.asarray(image), pixels)
    assert np.array_equal(np.asarray(native.Image(image)), pixels)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((3, 5), np.uint8),
        np.zeros((3, 5, 4), np.uint8),
        np.zeros((3, 5, 3), np.float32),
        np.zeros((3, 10, 3), np.uint8)[:, ::2],
        b"123",
        [[[1, 2, 3]]],
        None,
    ],
)
def test_what_is_no_picture_is_refused(given: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidParamsError, match=r"^pixels: got .*, allowed is a C-contiguous uint8 buffer \(height,"):
        native.Image(given)


def test_the_tasks_are_what_the_unet_takes(tmp_path: Path) -> None:
    everything = ["text-to-image", "image-to-image", "inpaint"]
    assert _load(models.resolve("pollen")).tasks == everything
    assert _load(write_tiny_model(tmp_path / "latents", _LATENTS)).tasks == everything
    assert _load(write_tiny_model(tmp_path / "told", _TOLD)).tasks == ["inpaint"]
    with pytest.raises(CheckpointError, match=r"in_channels is 5, but .* takes 4 or, to inpaint, 9$"):
        _load(write_tiny_model(tmp_path / "neither", 5))


def test_the_candle_engine_draws_over_what_it_can_encode(tmp_path: Path) -> None:
    for in_channels, task in ((_LATENTS, "image-to-image"), (_LATENTS, "inpaint"), (_TOLD, "inpaint")):
        folder = tmp_path / f"{in_channels} {task}"
        # candle's norms have 32 groups.
        write_tiny_model(folder, in_channels, width=32)
        asked = {**_SMALL, **_TASKS[task], "strength": 1.0}
        ours, candles = (_pixels(_load(folder, engine).generate(**asked)) for engine in ("native", "candle"))
        # candle's GEGLU is the tanh approximation.
        assert np.abs(ours[0].astype(int) - candles[0]).max() <= 4
    unable = write_tiny_model(tmp_path / "unable", _LATENTS, width=32, use_quant_conv=False)
    assert _load(unable, "candle").tasks == ["text-to-image"]
    with pytest.raises(InvalidParamsError, match=r"^image: got an image, allowed is none: .*text-to-image$"):
        _load(unable, "candle").check("", image=_picture())
    with pytest.raises(
        CheckpointError, match=r"^vae: the candle engine encodes only with a quant_conv, and this model"
    ):
        _load(write_tiny_model(tmp_path / "nothing left", _TOLD, width=32, use_quant_conv=False), "candle")


def test_the_parameters_tell_the_task(model: Path) -> None:
    pipeline = _load(model)
    for task in pipeline.tasks:
        made = pipeline.generate(**_SMALL, **_TASKS[task])
        assert made.parameters["task"] == task
        assert made.parameters["strength"] == {"text-to-image": None, "image-to-image": 0.8, "inpaint": 1.0}[task]
        if task != "text-to-image":
            assert (made.parameters["width"], made.parameters["height"]) == (16, 24)
            assert _pixels(made)[0].shape == (24, 16, 3)


@pytest.mark.parametrize("scheduler", native.Scheduler.names())
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_a_picture_in_a_batch_has_the_bits_that_it_has_alone(model: Path, scheduler: str, strength: float) -> None:
    pipeline = _load(model)
    asked: dict[str, Any] = {**_SMALL, "strength": strength, "scheduler": scheduler}
    asked |= {"num_inference_steps": 5, "eta": 1.0 if scheduler == "ddim" else 0.0}
    for task in set(pipeline.tasks) - {"text-to-image"}:
        batch = _pixels(pipeline.generate(**asked, **_TASKS[task], num_images_per_prompt=3))
        for index, pixels in enumerate(batch):
            alone = pipeline.generate(**{**asked, **_TASKS[task], "seed": 5 + index})
            assert np.array_equal(_pixels(alone)[0], pixels)
        assert not np.array_equal(batch[0], batch[1])


def test_what_is_kept_is_the_pictures_own(tmp_path: Path) -> None:
    """A mask of nothing leaves what the VAE makes of the picture, and says so."""
    tiny = TinyVaeConfig(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    pipeline = _load(write_tiny_model(tmp_path / "model", _LATENTS, tiny))
    image, nothing = _picture(), np.full((24, 16), 127, np.uint8).data
    values = np.asarray(image).astype(np.float32).transpose(2, 0, 1)[None] / np.float32(255) * 2 - 1
    back = np.asarray(pipeline.vae_decode(pipeline.vae_encode(np.ascontiguousarray(values).data)))[0]
    expected = np.round(np.clip(back.transpose(1, 2, 0) / 2 + 0.5, 0, 1) * 255).astype(np.uint8)
    for strength in (0.5, 1.0):
        asked: dict[str, Any] = {**_SMALL, "image": image, "strength": strength}
        asked |= {"preview_every": 1, "decode_previews": True}
        previews: list[NDArray[np.uint8]] = []

        def keep(step: native.Step, previews: list[NDArray[np.uint8]] = previews) -> None:
            if step.preview is not None:
                previews.append(np.asarray(step.preview))

        made = pipeline.generate(**asked, mask_image=nothing, on_step=keep)
        assert made.warnings == [
            "mask_image leaves nothing to draw: none of its values, of which one in 2 is read each way, is 128 or more"
        ]
        assert len(previews) == 4 * strength
        for pixels in (*_pixels(made), *previews):
            assert np.abs(pixels.astype(int) - expected).max() <= 1
        half = pipeline.generate(**asked, mask_image=_mask())
        assert half.warnings == []
        assert not np.array_equal(_pixels(half)[0], _pixels(made)[0])


@pytest.mark.parametrize("model", [_LATENTS], indirect=True)
@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("mask_image", {"mask_image": _mask()}),
        ("mask_image", {"image": _picture(), "mask_image": _mask(16, 24)}),
        ("mask_image", {"image": _picture(), "mask_image": _picture()}),
        ("image", {"image": _mask()}),
        ("image", {"image": _picture(23, 16)}),
        ("image", {"image": np.zeros((0, 16, 3), np.uint8)}),
        ("image", {"image": b"abc"}),
        ("strength", {"strength": 0.5}),
        ("strength", {"image": _picture(), "strength": 0.0}),
        ("strength", {"image": _picture(), "strength": 1.01}),
        ("strength", {"image": _picture(), "strength": 0.2}),
        ("height", {"image": _picture(), "height": 16}),
        ("width", {"image": _picture(), "width": 24}),
    ],
)
def test_what_does_not_fit_is_named(model: Path, field: str, asked: dict[str, Any]) -> None:
    pipeline = _load(model)
    messages = []
    for ask in (pipeline.check, pipeline.generate):
        with pytest.raises(InvalidParamsError, match=f"^{field}: got .*, allowed is ") as caught:
            ask(**_SMALL, **asked)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("model", [_TOLD], indirect=True)
def test_a_model_that_only_inpaints_says_so(model: Path) -> None:
    pipeline = _load(model)
    only = "this model's only task is inpaint"
    with pytest.raises(InvalidParamsError, match=f"^image: got none, allowed is an image: {only}$"):
        pipeline.generate(**_SMALL)
    with pytest.raises(InvalidParamsError, match=f"^mask_image: got none, allowed is a mask of the image: {only}$"):
        pipeline.generate(**_SMALL, image=_picture())


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0, 1), st.sampled_from(native.Scheduler.names()))
def test_what_check_takes_begins(steps: int, strength: float, scheduler: str) -> None:
    """Wherever the run begins, at least one step is left, or the field is named."""
    pipeline = _load(models.resolve("pollen"))
    asked: dict[str, Any] = {"num_inference_steps": steps, "strength": strength, "scheduler": scheduler}
    field = None
    try:
        pipeline.check("", image=_picture(8, 8), **asked)
    except InvalidParamsError as error:
        field = error.field
    assert field in asked if field else int(steps * strength) >= 1
