"""The benchmarks run, and their figures are what they claim to be."""

import json
import math
import re
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

from benches.engines import ENGINES, OTHERS, opponents
from benches.samples import Comparison, Distribution, Side, relative_rms

ROOT = Path(__file__).parent.parent


def bench(*arguments: str, module: str = "benches") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_engines_do_the_same_work_in_turns() -> None:
    arguments = ("--parts", "unet,memory", "--against", "candle", "--ours", "native-f32", "--repeat", "2")
    done = bench(*arguments, "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    run: dict[str, Any] = json.loads(done.stdout)
    assert run["environment"]["threads"] == 1
    assert run["skipped"] == ([] if sys.platform != "win32" else run["skipped"])
    unet = run["comparisons"][0]
    assert unet["part"] == "UNet step, guided"
    assert [unet[side]["engine"] for side in ("native", "other")] == ["native-f32", "candle"]
    assert 0 < unet["apart"] < 5e-3
    for side in (unet["native"], unet["other"]):
        assert len(side["samples"]) == 2
        assert 0 < side["min"] <= side["median"]
        # One peak for both, as they multiply the same dtype.
        assert side["peak_flops"] == unet["native"]["peak_flops"] > 1e8
        assert side["share_of_peak"] == pytest.approx(unet["flops"] / side["median"] / side["peak_flops"])
    pairs = zip(unet["native"]["samples"], unet["other"]["samples"], strict=True)
    assert unet["ratio"]["samples"] == [other / native for native, other in pairs]
    if sys.platform != "win32":
        memory = run["comparisons"][1]
        # A model of 20 MB in an interpreter: more than either, less than a mistaken unit would give.
        assert 30 < memory["native"]["min"] < 1000
        assert memory["native"]["share_of_peak"] is None


def test_a_preset_of_another_size_in_processes_of_its_turns(tmp_path: Path) -> None:
    # What would be compared with ours in bf16 leaves ours in f32 alone.
    arguments = ("--model", "tiny-xl", "--parts", "unet", "--against", "diffusers-bf16", "--ours", "native-f32")
    more = ("--repeat", "2", "--one-at-a-time", "--cache", str(tmp_path), "--json")
    runs = [bench(*arguments, *more, "--size", size) for size in ("64", "128")]
    unets = []
    for done in runs:
        assert done.returncode == 0, done.stderr
        (unet,) = json.loads(done.stdout)["comparisons"]
        assert len(unet["native"]["samples"]) == 2
        unets.append(unet)
    # Four times the positions; what is of the text and of the time stays as it is.
    assert unets[1]["flops"] > 2 * unets[0]["flops"]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("model", "says"), [("tiny", "got 20, allowed is a multiple of 64"), ("pollen", "a model that has its own")]
)
def test_a_size_that_a_model_cannot_have_is_told(model: str, says: str, tmp_path: Path) -> None:
    done = bench("--model", model, "--size", "20", "--cache", str(tmp_path))
    assert done.returncode == 2
    assert "size: got 20" in done.stderr
    assert re.search(says, done.stderr)


def test_an_engine_is_compared_with_ours_of_its_dtype() -> None:
    assert opponents(ENGINES["candle"]) == ("native-f32", "native-bf16")
    for other in OTHERS:
        assert {ENGINES[ours].dtype for ours in opponents(ENGINES[other])} >= {ENGINES[other].dtype}
    assert opponents(ENGINES["openvino-bf16"]) == ("native-bf16",)


def test_an_engine_that_cannot_is_told_and_skipped(tmp_path: Path) -> None:
    # candle's UNet has 32 groups in its norms whatever the configuration says.
    done = bench(
        "--model",
        "tiny",
        "--parts",
        "vae",
        "--against",
        "candle",
        "--ours",
        "native-f32",
        "--cache",
        str(tmp_path),
        "--json",
    )
    assert done.returncode == 1
    run = json.loads(done.stdout)
    assert run["comparisons"] == []
    assert [line.split(":")[0] for line in run["skipped"]] == ["candle"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--parts", "unet,soup"),
        ("--ours", "candle"),
        ("--repeat", "0"),
        ("--model", "nothing-of-this-name"),
        ("--threads", "-1"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[str, str]) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert f"{arguments[0]}: " in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_a_worker_is_measured_from_its_steps_to_its_end() -> None:
    done = bench("--parts", "events,end", "--repeat", "1", "--json", module="benches.serve")
    assert done.returncode == 0, done.stderr
    events, end = json.loads(done.stdout)["measured"]
    assert len(events["samples"]) == 100
    # No event comes before its step has ended, which is what makes two processes' clocks one.
    assert 0 < events["min"] <= events["p50"] <= events["p99"] <= events["max"]
    assert [end["part"], len(end["samples"])] == ["SIGTERM to exit, drawing", 2]


def test_percentiles_are_samples() -> None:
    measured = Distribution("event", "s", [float(value) for value in range(200, 0, -1)])
    assert [measured.at(share) for share in (0, 0.5, 0.99, 1)] == [1, 100, 198, 200]
    assert Distribution("memory", "MB", [3.0]).at(0.99) == 3


def test_ratios_are_taken_round_by_round() -> None:
    ours, theirs = Side("native-f32", [1.0, 2.0, 4.0], peak=50.0), Side("candle", [3.0, 4.0, 40.0], peak=50.0)
    compared = Comparison("decode", "s", ours, theirs, flops=80.0)
    assert compared.ratios == [3.0, 2.0, 10.0]
    assert compared.as_json()["ratio"] == {"min": 2.0, "median": 3.0, "max": 10.0, "samples": [3.0, 2.0, 10.0]}
    assert (compared.share(ours), compared.share(theirs)) == (0.8, 0.4)
    alone = Comparison("decode", "s", Side("native-f32", [1.0]), None)
    assert (alone.as_json()["ratio"], alone.share(alone.native)) == (None, None)


def test_relative_rms(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("ours", "theirs", "short")]
    for file, values in zip(files, ([3.0, 0.0], [4.0, 0.0], [4.0]), strict=True):
        file.write_bytes(array("f", values).tobytes())
    ours, theirs, short = files
    assert math.isclose(relative_rms(ours, theirs, "f"), 0.25)
    with pytest.raises(ValueError, match=r"^outputs: got 1 values and 2, "):
        relative_rms(short, theirs, "f")
