"""Whatever is given as a parameter: it is taken, or an `InvalidParamsError` names it."""

import datetime
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sd_rbee import InvalidParamsError, Step
from sd_rbee.spec import GenerationParameters, GenerationSpec
from support import pollen, small

FIELDS = sorted(GenerationParameters.__annotations__)

numbers = st.one_of(
    st.integers(),
    st.integers(-3, 3),
    st.integers(1, 512).map(lambda value: 8 * value),
    st.integers(0, 80).map(lambda bits: 1 << bits),
    st.floats(),
    st.floats(0, 1),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
)
names = st.sampled_from(
    ["ddim", "euler", "euler-ancestral", "dpm++-2m", "leading", "trailing", "linspace", "ddim ", "Euler", "dpm++_2m"]
)
texts = st.one_of(names, st.text(), st.text(st.characters()), st.text().map(lambda text: text * 5000))
anything: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    st.binary(),
    st.just(object()),
    st.just(int),
    st.just(datetime.date(2020, 1, 1)),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
    st.tuples(st.text()),
)


class Begun(Exception):  # noqa: N818 - not an error of anybody's
    """All parameters were taken, and the first step is about to be computed."""


def stop(step: Step) -> None:
    if step.phase == "prepare":
        raise Begun


def examples(count: int) -> settings:
    # The same ones every time: what a run of the tests says must not depend on luck.
    return settings(deadline=None, derandomize=True, max_examples=count, suppress_health_check=[HealthCheck.too_slow])


def attempt(prompt: object, parameters: dict[str, Any]) -> None:
    with pytest.raises((Begun, InvalidParamsError)) as caught:
        pollen().generate(cast("str", prompt), **parameters, on_step=stop)
    if isinstance(caught.value, InvalidParamsError):
        assert caught.value.field in {"prompt", *parameters}
        assert caught.value.given
        assert len(str(caught.value)) < 400


@examples(300)
@given(field=st.sampled_from(["prompt", *FIELDS]), value=anything)
def test_one_parameter(field: str, value: object) -> None:
    arguments: dict[str, Any] = {"prompt": "a robot", **small(), field: value}
    attempt(arguments.pop("prompt"), arguments)


@examples(200)
@given(prompt=texts, parameters=st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, numbers | texts)))
def test_several_parameters(prompt: str, parameters: dict[str, Any]) -> None:
    attempt(prompt, {**small(), **parameters})


plausible = st.fixed_dictionaries(
    {
        "height": st.integers(1, 4).map(lambda value: 8 * value),
        "width": st.integers(1, 4).map(lambda value: 8 * value),
        "num_inference_steps": st.integers(1, 4),
        "guidance_scale": st.floats(0, 1000),
        "guidance_rescale": st.floats(0, 1),
        "num_images_per_prompt": st.integers(1, 2),
        "seed": st.integers(0, 2**64 - 2),
        "scheduler": st.sampled_from(
            ["ddim", "ddpm", "euler", "euler-ancestral", "heun", "lms", "dpm++-2m", "dpm++-2m-sde", "unipc"]
        ),
        "timestep_spacing": st.sampled_from([None, "leading", "trailing", "linspace"]),
        "guidance_start": st.floats(0, 0.5),
        "guidance_end": st.floats(0.5, 1, exclude_min=True),
        "deepcache_interval": st.integers(1, 4),
        "deepcache_branch": st.integers(0, 3),
        "clip_skip": st.one_of(st.none(), st.integers(0, 2)),
        "prompt_syntax": st.sampled_from(["plain", "a1111"]),
        "negative_prompt": st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
    }
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@examples(100)
@given(prompt=st.text(st.characters(codec="utf-8")), parameters=plausible)
def test_what_is_allowed_draws(prompt: str, parameters: dict[str, Any]) -> None:
    result = pollen().generate(prompt, **parameters)
    assert len(result.images) == parameters["num_images_per_prompt"]
    for image in result.images:
        assert image.size == (parameters["width"], parameters["height"])
    told = {key: value for key, value in parameters.items() if key not in ("seed", "num_images_per_prompt")}
    # What was left open is told as it was filled in.
    for key in ("timestep_spacing", "use_karras_sigmas", "scheduler"):
        assert result.parameters[key] is not None
        if told.get(key, "") is None:
            del told[key]
    assert {key: result.parameters[key] for key in told} == told


@examples(100)
@given(prompt=texts, parameters=plausible)
def test_a_spec_holds_what_it_was_given(prompt: str, parameters: dict[str, Any]) -> None:
    try:
        spec = GenerationSpec(prompt, **parameters)
    except InvalidParamsError:
        return
    assert {key: spec.arguments()[key] for key in parameters} == parameters
