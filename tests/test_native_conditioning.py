"""Conditions of a prediction, kept from call to call."""

from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sd_rbee import InvalidParamsError
from sd_rbee.backend import native
from tools.random_checkpoint import PRESETS, write_checkpoint

if TYPE_CHECKING:
    from typing_extensions import Buffer

SAMPLE = native.Generator(0).randn((1, 4, 8, 8))
TIME_IDS = memoryview(array("f", (64, 64, 0, 0, 64, 64))).cast("B").cast("f", shape=(1, 6))


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> native.Pipeline:
    folder = write_checkpoint(PRESETS["tiny-xl"], tmp_path_factory.mktemp("checkpoint"))
    return native.Pipeline.load(str(folder), device="cpu", dtype="f32")


def given(pipe: native.Pipeline, prompt: str) -> "tuple[Buffer, Buffer, Buffer]":
    pooled = pipe.pooled_prompt(prompt)
    assert pooled is not None
    return pipe.encode_prompt(prompt), pooled, TIME_IDS


def test_calls_that_share_conditions_are_calls_with_their_own(pipe: native.Pipeline) -> None:
    texts = {prompt: given(pipe, prompt) for prompt in ("a robot", "an owl")}
    shared = {prompt: native.Conditioning(*text) for prompt, text in texts.items()}
    for timestep in (999.0, 500.0, 1.0):
        for prompt, text in texts.items():
            ours, alone = pipe.predict(SAMPLE, timestep, shared[prompt]), pipe.predict(SAMPLE, timestep, *text)
            assert np.array_equal(np.asarray(ours), np.asarray(alone)), (prompt, timestep)


def test_pipelines_may_share_conditions(pipe: native.Pipeline, tmp_path: Path) -> None:
    other = native.Pipeline.load(
        str(write_checkpoint(PRESETS["tiny-xl"], tmp_path, seed=1)), device="cpu", dtype="bf16"
    )
    text = given(pipe, "a robot")
    shared = native.Conditioning(*text)
    for each in (pipe, other, pipe):
        ours, alone = each.predict(SAMPLE, 500.0, shared), each.predict(SAMPLE, 500.0, *text)
        assert np.array_equal(np.asarray(ours), np.asarray(alone))


def test_what_is_given_twice_or_by_half_is_named(pipe: native.Pipeline) -> None:
    embeddings, pooled, time_ids = given(pipe, "a robot")
    shared = native.Conditioning(embeddings, pooled, time_ids)
    for field, more in (("pooled", (pooled,)), ("time_ids", (None, time_ids))):
        with pytest.raises(InvalidParamsError, match=f"^{field}: .*beside a Conditioning"):
            pipe.predict(SAMPLE, 500.0, shared, *more)
    for field, half in (("time_ids", (pooled,)), ("pooled", (None, time_ids))):
        with pytest.raises(InvalidParamsError, match=f"^{field}: got none, allowed is both"):
            native.Conditioning(embeddings, *half)
    with pytest.raises(InvalidParamsError, match=r"^embeddings: "):
        native.Conditioning(SAMPLE)
