"""`sd-rbee bench` and what it is made of."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from sd_rbee import InvalidParamsError, bench, models
from sd_rbee.backend import native
from support import cli
from tools.random_checkpoint import PRESETS, write_checkpoint


def test_the_command_measures_the_embedded_model() -> None:
    done = cli("bench", "--model", "pollen", "--seconds", "0.05", "--threads", "1", "--dtype", "f32", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    machine, (model,) = told["machine"], told["models"]
    assert machine["instruction_set"] == native.instruction_set()
    assert machine["num_threads"] == 1
    assert machine["peak_flops"].keys() == {"f32", "bf16"}
    assert (model["model"], model["is_random"], model["device"], model["dtype"]) == ("pollen", False, "cpu", "f32")
    flops = native.Pipeline.load(str(models.resolve("pollen"))).flops
    for part, operations in (("step", 2 * flops["predict"]), ("decode", flops["vae_decode"])):
        timing = model[part]
        assert timing["seconds"] > 0
        assert timing["calls"] >= 1
        assert timing["share"] == pytest.approx(operations / timing["seconds"] / machine["peak_flops"]["f32"])
    assert 1e6 < model["weights_bytes"] < 1e9
    if sys.platform != "win32":
        assert model["peak_bytes"] > model["weights_bytes"]


@pytest.mark.parametrize("preset", ["tiny-v2", "tiny-turbo", "tiny-xl", "tiny-inpaint", "tiny-xl-inpaint"])
def test_every_family_can_be_measured(preset: str, tmp_path: Path) -> None:
    folder = write_checkpoint(PRESETS[preset], tmp_path)
    measured = bench.measure(str(folder), bench.probe(0.0), device="cpu", dtype="f32", seconds=0.0)
    assert measured.step.seconds > 0
    assert measured.decode.seconds > 0


def test_the_table_has_a_row_a_model() -> None:
    done = cli("bench", "--model", "pollen", "--model", "pollen", "--seconds", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{native.instruction_set()}, ")
    assert done.stdout.count("pollen") == 2
    assert done.stderr.splitlines() == ["peak", "pollen", "pollen"]


@pytest.mark.parametrize(
    ("arguments", "flag", "code"),
    [
        (("--threads", "0"), "--threads", 2),
        (("--seconds", "-1"), "--seconds", 2),
        (("--dtype", "f8"), "--dtype", 2),
        (("--model", "nothing-of-this-name"), "nothing-of-this-name", 3),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[str, str], flag: str, code: int) -> None:
    options = {"--model": "pollen", "--seconds": "0", arguments[0]: arguments[1]}
    done = cli("bench", *(each for option in options.items() for each in option))
    assert (done.returncode, done.stdout) == (code, "")
    assert flag in done.stderr.splitlines()[-1]


def test_the_default_is_what_is_at_hand_and_a_published_shape() -> None:
    assert bench.default_models() == ["pollen", "v1-5"]
    assert native.Pipeline.shapes() == ["v1-5", "v2-1", "xl"]


def test_a_shape_that_is_not_published_is_refused() -> None:
    with pytest.raises(InvalidParamsError, match=r"^shape: got v9, allowed is v1-5, v2-1, xl$"):
        native.Pipeline.random("v9")


def test_threads_multiply_together() -> None:
    one, two = (native.peak_flops("f32", 0.2, num_threads=count) for count in (1, 2))
    # On one core their sum is one's alone.
    assert two > one / 2 > 1e8
    assert native.num_threads(3) == 3


@pytest.mark.parametrize(
    ("dtype", "seconds", "field"), [("f16", 0.0, "dtype"), ("f32", -1.0, "seconds"), ("f32", np.nan, "seconds")]
)
def test_a_probe_refuses_what_it_cannot_do(dtype: str, seconds: float, field: str) -> None:
    with pytest.raises(InvalidParamsError, match=f"^{field}: "):
        native.peak_flops(dtype, seconds)


def test_operations_are_counted_at_the_models_own_size() -> None:
    pipe = native.Pipeline.load(str(models.resolve("pollen")))
    flops = pipe.flops
    assert flops.keys() == {"predict", "vae_decode"}
    # Each weight of a 3 x 3 convolution or a linear layer is used at one position at least.
    parameters = {each.component: each.bytes / 4 for each in pipe.residency}
    assert flops["predict"] > parameters["unet"] / 4
    assert flops["vae_decode"] > 0
