"""What a generation gives: pixels, timings, warnings, where memory is."""

import inspect
import json
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sd_rbee
from sd_rbee import GenerationResult, IneffectiveParameterWarning, InvalidParamsError, TruncatedPromptWarning
from support import PHASES, pixels, pollen, small


def address(array: np.ndarray[Any, Any]) -> int:
    where: int = array.__array_interface__["data"][0]
    return where


def test_pixels_are_not_copied() -> None:
    result = pollen().generate("a robot", **small())
    first, second = np.asarray(result.pixels[0]), np.asarray(result.pixels[0])
    assert (first.shape, str(first.dtype), first.flags.c_contiguous) == ((16, 24, 3), "uint8", True)
    assert np.shares_memory(first, second)
    assert address(first) == address(second)
    view = memoryview(result.pixels[0])
    assert (view.readonly, view.shape, view.format, view.nbytes) == (True, (16, 24, 3), "B", 16 * 24 * 3)
    assert address(np.frombuffer(view.cast("B"), np.uint8)) == address(first)


def test_pixels_are_read_only() -> None:
    array = pixels(pollen().generate("a robot", **small()))
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.setflags(write=True)


def test_pixels_outlive_their_result() -> None:
    result = pollen().generate("a robot", **small())
    array, copy = pixels(result), pixels(result).copy()
    del result
    for seed in range(3):
        pollen().generate("a robot", **small(seed=seed))
    assert np.array_equal(array, copy)


def test_images_are_the_pixels_in_pil() -> None:
    result = pollen().generate("a robot", **small(num_images_per_prompt=2))
    assert len(result.images) == len(result.pixels) == len(result.seeds) == 2
    for image, native in zip(result.images, result.pixels, strict=True):
        assert (image.mode, image.size) == ("RGB", (native.width, native.height))
        assert np.array_equal(np.asarray(image), np.asarray(native))


def test_an_image_carries_its_own_recipe() -> None:
    result = pollen().generate("a robot", **small(num_images_per_prompt=2))
    for index, image in enumerate(result.images):
        assert json.loads(image.info["sd-rbee"]) == {**result.parameters, "seed": 7 + index, "image": index}
        assert f"Seed: {7 + index}, " in image.info["parameters"]


def test_saving_replaces_and_numbers(tmp_path: Path) -> None:
    result = pollen().generate("a robot", **small(num_images_per_prompt=2))
    (tmp_path / "a-2.png").write_text("old")
    paths = result.save(tmp_path / "a.png")
    assert paths == [tmp_path / "a-1.png", tmp_path / "a-2.png"]
    for index, path in enumerate(paths):
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), pixels(result, index))
    with pytest.raises(InvalidParamsError, match=r"'a\.gif', allowed is a name ending in \.png"):
        result.save(tmp_path / "a.gif")
    assert sorted(tmp_path.iterdir()) == paths


def test_peak_memory_is_of_each_phase_and_grows_with_the_picture() -> None:
    little, much = (pollen().generate("a robot", **small(width=side, height=side)).peak_memory for side in (64, 512))
    assert list(little) == list(much) == list(PHASES)
    assert much["denoise"] > little["denoise"]
    # The decoder's widest feature maps: 512 x 512 pixels of 32 channels in f32 at least.
    assert much["decode"] - little["decode"] > 512 * 512 * 32 * 4


def test_timings_are_of_each_phase() -> None:
    timings = pollen().generate("a robot", **small()).timings
    assert list(timings) == [*PHASES, "total"]
    assert all(seconds > 0 for seconds in timings.values())
    assert sum(timings[phase] for phase in PHASES) == pytest.approx(timings["total"], rel=0.2, abs=0.005)


@pytest.mark.parametrize("draw", [sd_rbee.generate, pollen().generate])
@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0])
def test_a_negative_prompt_without_guidance_warns(draw: Callable[..., GenerationResult], guidance: float) -> None:
    with pytest.warns(IneffectiveParameterWarning, match="negative_prompt has no effect") as caught:
        result = draw("a robot", **small(guidance_scale=guidance, negative_prompt="blue"))
    here = inspect.currentframe()
    assert here is not None
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, here.f_lineno - 3)]
    assert result.warnings == [str(caught[0].message)]


def test_nothing_warns_where_all_has_an_effect() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for change in ({"guidance_scale": 0.5}, {"guidance_scale": 1.1, "negative_prompt": "blue"}):
            assert pollen().generate("a robot", **small(**change)).warnings == []
        assert pollen().generate("a robot", **small(guidance_scale=1, negative_prompt="")).warnings == []


@pytest.mark.parametrize("draw", [sd_rbee.generate, pollen().generate])
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_truncated_prompt_is_told(draw: Callable[..., GenerationResult], field: str) -> None:
    text = "robot " * 40 + "owl"
    arguments = {"prompt": "a robot", **small(), field: text}
    with pytest.warns(TruncatedPromptWarning, match=f"^{field} has 41 tokens, 30 were read; not seen: '") as caught:
        result = draw(**arguments)
    assert caught[0].filename == __file__
    (cut,) = result.truncations
    assert (cut.prompt, cut.kept, cut.total) == (field, 30, 41)
    assert cut.dropped_text.split() == ["robot"] * 10 + ["owl"]


def test_loading_logs_where_each_components_bytes_are(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sd_rbee"):
        pipe = sd_rbee.Pipeline.load()
    assert [record.message for record in caplog.records][1:] == [str(component) for component in pipe.residency]
    assert [component.component for component in pipe.residency] == ["text_encoder", "unet", "vae"]
    for component in pipe.residency:
        assert (component.device, component.dtype, component.stored_dtype) == ("cpu", "f32", "f16")
        assert component.storage == "packed"
        assert component.bytes % 4 == 0
        assert str(component).startswith(f"{component.component}: {component.tensors} tensors, ")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="growth is read from /proc")
def test_growth_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    pipe = sd_rbee.Pipeline.load()
    pipe.generate("a robot", **small())
    assert pipe.generate("a robot", **small()).residency_events == []
    held = b"\1" * (200 << 20)
    with caplog.at_level(logging.INFO, logger="sd_rbee"):
        result = pipe.generate("a robot", **small())
    (event,) = result.residency_events
    # Memory that was free before is not grown into.
    grown = re.fullmatch(r"the process grew by (\d+) MiB since the last generation", event)
    assert grown is not None
    assert 100 <= int(grown[1]) <= 300
    assert [record.message for record in caplog.records] == [f"pollen: {event}"]
    assert len(held) == 200 << 20
    assert pipe.generate("a robot", **small()).residency_events == []
