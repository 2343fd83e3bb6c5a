"""Pipeline.load, generate and their arguments."""

import inspect
import logging
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sd_rbee
from sd_rbee import GenerationResult, Pipeline
from sd_rbee.backend import native
from sd_rbee.spec import GenerationParameters
from support import POLLEN, pixels, pollen, small

DIFFUSERS_ARGUMENTS = [
    "prompt",
    "height",
    "width",
    "num_inference_steps",
    "guidance_scale",
    "negative_prompt",
    "num_images_per_prompt",
    "eta",
]


def load_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "engine native" in record.message]


def test_generate_keeps_the_model_loaded(caplog: pytest.LogCaptureFixture) -> None:
    sd_rbee.generate("a robot", **small())
    with caplog.at_level(logging.INFO, logger="sd_rbee"):
        again = sd_rbee.generate("a robot", **small())
        assert load_lines(caplog) == []
        Pipeline.load(num_threads=2)
        assert load_lines(caplog) == ["pollen on cpu in f32 as auto, num_threads 2, engine native"]
    assert np.array_equal(pixels(again), pixels(pollen().generate("a robot", **small())))


@pytest.mark.parametrize("model", ["pollen", str(POLLEN), POLLEN])
def test_a_model_is_an_alias_or_a_path(model: str | Path) -> None:
    pipe = Pipeline.load(model, device="cpu", dtype="f32", engine="native")
    assert (pipe.model, pipe.device, pipe.dtype, pipe.engine) == ("pollen", "cpu", "f32", "native")
    drawn = pipe.generate("an owl", **small())
    assert np.array_equal(pixels(drawn), pixels(pollen().generate("an owl", **small())))


def test_an_alias_wins_over_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pollen").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Pipeline.load("pollen").model == "pollen"
    with pytest.raises(sd_rbee.ModelNotFoundError):
        Pipeline.load("./pollen")


def test_the_candle_engine_draws_nearly_the_same() -> None:
    ours = pixels(pollen().generate("a robot", **small(num_inference_steps=4)))
    theirs = pixels(Pipeline.load(engine="candle").generate("a robot", **small(num_inference_steps=4)))
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_arguments_are_called_as_in_diffusers() -> None:
    names = list(inspect.signature(Pipeline.generate).parameters)
    assert names[:2] == ["self", "prompt"]
    assert not set(DIFFUSERS_ARGUMENTS) - set(names)
    hooks = {"self", "prompt", "on_step", "cancel"}
    assert typing.get_type_hints(GenerationParameters).keys() == set(names) - hooks


@pytest.mark.parametrize("draw", [sd_rbee.generate, pollen().generate])
def test_all_arguments_together(draw: Callable[..., GenerationResult]) -> None:
    result = draw(
        prompt="a robot",
        negative_prompt="blue",
        height=24,
        width=40,
        num_inference_steps=3,
        guidance_scale=2.5,
        guidance_rescale=0.5,
        num_images_per_prompt=2,
        seed=5,
        scheduler="ddim",
        eta=0.5,
        timestep_spacing="trailing",
        use_karras_sigmas=False,
        use_exponential_sigmas=False,
        use_beta_sigmas=False,
        rescale_betas_zero_snr=True,
        guidance_start=0.1,
        guidance_end=0.9,
        deepcache_interval=2,
        deepcache_branch=1,
        clip_skip=1,
        prompt_syntax="a1111",
        vae_tiling=False,
    )
    assert result.seeds == [5, 6]
    assert [image.size for image in result.images] == [(40, 24)] * 2
    expected = {
        "prompt": "a robot",
        "negative_prompt": "blue",
        "task": "text-to-image",
        "strength": None,
        "height": 24,
        "width": 40,
        "num_inference_steps": 3,
        "guidance_scale": 2.5,
        "guidance_rescale": 0.5,
        "scheduler": "ddim",
        "eta": 0.5,
        "timestep_spacing": "trailing",
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "rescale_betas_zero_snr": True,
        "guidance_start": 0.1,
        "guidance_end": 0.9,
        "deepcache_interval": 2,
        "deepcache_branch": 1,
        "clip_skip": 1,
        "prompt_syntax": "a1111",
        "vae_tiling": False,
        "model": "pollen",
        "vae": None,
        "engine": "native",
        "device": "cpu",
        "dtype": "f32",
        "version": sd_rbee.__version__,
    }
    assert result.parameters == expected


@pytest.mark.parametrize(
    "change",
    [
        {"negative_prompt": "a red apple"},
        {"num_inference_steps": 3},
        {"guidance_scale": 1.5},
        {"seed": 8},
        {"guidance_rescale": 0.7},
        *({"scheduler": name} for name in native.Scheduler.names() if name != "ddim"),
        {"eta": 1.0},
        {"timestep_spacing": "leading"},
        {"timestep_spacing": "linspace"},
        {"scheduler": "euler", "use_karras_sigmas": True},
        {"scheduler": "euler", "use_exponential_sigmas": True},
        {"scheduler": "euler", "use_beta_sigmas": True},
        {"rescale_betas_zero_snr": True},
        {"guidance_start": 0.25},
        {"guidance_end": 0.75},
        {"deepcache_interval": 2},
        {"clip_skip": 1},
        {"deepcache_interval": 2, "deepcache_branch": 1},
    ],
    ids=lambda change: "-".join(map(str, change.values())),
)
def test_every_argument_changes_the_picture(change: dict[str, Any]) -> None:
    # Four steps, since a spacing or a multistep solver may be the same in one.
    base: dict[str, Any] = {"num_inference_steps": 4}
    if any("sigmas" in key for key in change):
        base |= {"scheduler": "euler"}
    plain = pollen().generate("a robot", **small(**base))
    changed = pollen().generate("a robot", **small(**(base | change)))
    assert not np.array_equal(pixels(plain), pixels(changed))


def test_the_prompt_changes_the_picture() -> None:
    drawn = [pixels(pollen().generate(prompt, **small())) for prompt in ("a robot", "a red apple", "")]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_an_empty_negative_prompt_is_none() -> None:
    none, empty = (pixels(pollen().generate("a robot", **small(negative_prompt=text))) for text in (None, ""))
    assert np.array_equal(none, empty)


def test_what_is_left_out_is_the_models_own() -> None:
    result = pollen().generate("a robot", num_inference_steps=1)
    assert result.images[0].size == (pollen().defaults["width"], pollen().defaults["height"])
    assert result.parameters["guidance_scale"] == pollen().defaults["guidance_scale"]
    assert result.parameters["scheduler"] == pollen().defaults["scheduler"]
    assert pollen().generate("a robot", **small(num_inference_steps=None)).parameters["num_inference_steps"] == 20


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 72), (72, 8), (40, 24), (136, 128)])
def test_any_multiple_is_a_size(height: int, width: int) -> None:
    result = pollen().generate("a robot", **small(height=height, width=width, num_inference_steps=1))
    assert result.images[0].size == (width, height)
    assert pixels(result).shape == (height, width, 3)


def test_a_pipeline_tells_what_it_is() -> None:
    pipe = Pipeline.load(dtype="bf16", num_threads=3)
    assert repr(pipe) == "<Pipeline pollen on cpu in bf16, num_threads 3, engine native>"
    pipe = pollen()
    assert repr(pipe) == f"<Pipeline pollen on cpu in f32, num_threads {pipe.num_threads}, engine native>"
    assert pipe.size_multiple == 8
    defaults = {"height": 128, "width": 128, "num_inference_steps": 20, "guidance_scale": 3.5, "scheduler": "ddim"}
    assert pipe.defaults == defaults
    assert pipe.native_pipeline.prediction_type == "v_prediction"
