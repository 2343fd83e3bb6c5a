"""The command line in processes of its own: exit codes, and what goes to stdout and to stderr."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sd_rbee
from sd_rbee import backend
from support import POLLEN, SMALL, cli, copy_model, draw, edit_json, run

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $sd is the command."""
    script = f'set -o pipefail; sd="{sys.executable} -m sd_rbee"; small="{" ".join(SMALL)}"; {line}'
    return subprocess.run(["bash", "-c", script], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_version_and_help() -> None:
    assert cli("--version").stdout == f"sd-rbee {sd_rbee.__version__}\n"
    assert sd_rbee.__version__ == backend.native.__version__
    for arguments in (["-h"], ["generate", "-h"], ["info", "--help"], ["verify", "-h"]):
        done = cli(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: sd-rbee ")
    bare = cli()
    assert (bare.returncode, bare.stdout) == (2, "")
    assert bare.stderr.startswith("Usage: sd-rbee ")


def test_a_picture_is_a_path_on_stdout(tmp_path: Path) -> None:
    done = draw("--seed", "7", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "a-robot-7.png\n")
    lines = done.stderr.splitlines()
    # Plain lines, since this is no terminal.
    assert [line.split(",")[0] for line in lines[:4]] == ["encode 1/1", "prepare 1/1", "denoise 1/1", "decode 1/1"]
    assert lines[4].startswith("seed 7; ")
    assert len(lines) == 5
    assert "\x1b" not in done.stderr


def test_quiet_is_quiet(tmp_path: Path) -> None:
    done = draw("-q", "--seed", "7", "--guidance", "0.5", "--negative", "blue", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a-robot-7.png\n", "")


def test_json_is_all_there_is_on_stdout(tmp_path: Path) -> None:
    prompt, options = "robot " * 40, ["--guidance", "0.5", "--negative", "blue", "-n", "2", "--seed", "7", "--json"]
    done = cli("generate", prompt, *SMALL, *options, "-o", "a.png", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["images"] == [{"path": "a-1.png", "seed": 7}, {"path": "a-2.png", "seed": 8}]
    assert sorted(told["timings"]) == ["decode", "denoise", "encode", "prepare", "total"]
    assert told["parameters"]["prompt"] == prompt
    assert (told["parameters"]["width"], told["parameters"]["height"]) == (24, 16)
    assert told["warnings"] == ["negative_prompt has no effect at guidance_scale 0.5: guidance begins above 1"]
    (cut,) = told["truncations"]
    assert (cut["prompt"], cut["kept"], cut["total"], cut["dropped_text"].split()) == ("prompt", 30, 40, ["robot"] * 10)
    assert told["residency_events"] == []
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 2
    assert warned[0].startswith("warning: prompt has 40 tokens, 30 were read; not seen: 'robot ")
    assert warned[1] == f"warning: {told['warnings'][0]}"


WRONG = {
    "no prompt": (["generate"], "Missing argument 'PROMPT'"),
    "unknown command": (["paint"], "No such command 'paint'"),
    "unknown option": (["generate", "x", "--stepz", "3"], "No such option"),
    "no number": (["generate", "x", "--steps", "many"], "'many' is not a valid integer"),
    "steps 0": (["generate", "x", "--steps", "0"], "sd-rbee: --steps: got 0, allowed is an int from 1"),
    "steps 10**9": (
        ["generate", "x", "--steps", "1000000000"],
        "--steps: got 1000000000, allowed is 1 to 1000",
    ),
    "seed -1": (["generate", "x", "--seed", "-1"], "sd-rbee: --seed: got -1, allowed is an int from 0"),
    "seed 2**64": (["generate", "x", "--seed", str(2**64)], "sd-rbee: --seed: got 18446744073709551616"),
    "guidance nan": (["generate", "x", "--guidance", "nan"], "sd-rbee: --guidance: got nan, allowed is a finite"),
    "width 100": (["generate", "x", "--width", "100"], "sd-rbee: --width: got 100, allowed is a multiple of 8"),
    "height 10**6": (["generate", "x", "--height", "1000000"], "sd-rbee: --height: got 1000000"),
    "images 10**9": (["generate", "x", "-n", "1000000000", "-o", "a.png"], "sd-rbee: --num-images: got 1000000000"),
    "scheduler": (["generate", "x", "--scheduler", "k_lms"], "sd-rbee: --scheduler: got k_lms, allowed is ddim"),
    "spacing": (["generate", "x", "--spacing", "odd"], "sd-rbee: --spacing: got odd, allowed is leading"),
    "rescale": (
        ["generate", "x", "--guidance-rescale", "2"],
        "sd-rbee: --guidance-rescale: got 2, allowed is a number in 0 to 1",
    ),
    "eta": (["generate", "x", "--eta", "2"], "sd-rbee: --eta: got 2, allowed is 0 to 1"),
    "guidance": (["generate", "x", "--guidance-end", "2"], "sd-rbee: --guidance-end: got 2, allowed is a number above"),
    "deepcache": (
        ["generate", "x", "--deepcache-interval", "0"],
        "sd-rbee: --deepcache-interval: got 0, allowed is an",
    ),
    "karras": (["generate", "x", "--karras"], "sd-rbee: --karras: got true, allowed is false with ddim"),
    "exponential": (["generate", "x", "--exponential"], "sd-rbee: --exponential: got true, allowed is false with ddim"),
    "two sigmas": (
        ["generate", "x", "--scheduler", "euler", "--karras", "--beta"],
        "sd-rbee: --beta: got true, allowed is false beside another choice of sigmas",
    ),
    "zero snr": (
        ["generate", "x", "--scheduler", "lms", "--zero-snr"],
        "sd-rbee: --zero-snr: got true, allowed is false with lms",
    ),
    "engine": (["generate", "x", "--engine", "torch"], "'torch' is not one of 'native', 'candle'"),
    "device": (["generate", "x", "--device", "gpu"], "sd-rbee: --device: got gpu, allowed is auto, cpu"),
    "dtype": (["generate", "x", "--dtype", "f16", "--device", "cpu"], "sd-rbee: --dtype: got f16"),
    "threads": (["generate", "x", "--threads", "0"], "sd-rbee: --threads: got 0, allowed is an int from 1 to 1024"),
    "threads of verify": (["verify", "--threads", "9999"], "sd-rbee: --threads: got 9999, allowed is 1 to 1024"),
    "suffix": (["generate", "x", "-o", "a.gif"], "sd-rbee: --output: got 'a.gif', allowed is a name ending in .png"),
    "no suffix": (["generate", "x", "-o", "picture"], "sd-rbee: --output: got 'picture'"),
    "both results": (["generate", "x", "-o", "-", "--json"], "not both"),
    "several on stdout": (["generate", "x", "-o", "-", "-n", "2"], "one picture"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_2(case: str, tmp_path: Path) -> None:
    arguments, says = WRONG[case]
    done = cli(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_usable_model_is_3(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    edit_json(model / "unet/config.json", layers_per_block=2)
    for given, says in (
        (tmp_path / "none", "not an alias (at hand: pollen)"),
        (model, "missing: "),
    ):
        for command in (["generate", "x", "-o", tmp_path / "a.png"], ["verify"]):
            done = cli(*command, "--model", given)
            assert (done.returncode, done.stdout) == (3, "")
            assert says in done.stderr
            assert done.stderr.startswith("sd-rbee: ")
            assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_no_device_is_4(tmp_path: Path) -> None:
    done = cli("generate", "x", "--device", "cuda:15", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("sd-rbee: cuda")
    done = cli("info", env={"SD_RBEE_BACKEND": "abacus"})
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "sd-rbee: SD_RBEE_BACKEND: got abacus, allowed is cpu, cuda13\n"
    done = cli("info", env={"SD_RBEE_BACKEND": "cuda13"})
    assert (done.returncode, done.stderr) == (
        4,
        'sd-rbee: backend cuda13 is not installed: pip install "sd-rbee[cuda]"\n',
    )


@pytest.mark.parametrize("where", ["before", "after", "environment"])
def test_debug_shows_the_traceback_and_the_log(where: str, tmp_path: Path) -> None:
    options = ["generate", "x", "--width", "100"]
    if where == "environment":
        done = cli(*options, env={"SD_RBEE_DEBUG": "1"}, cwd=tmp_path)
    else:
        done = cli(*(["--debug", *options] if where == "before" else [*options, "--debug"]), cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "sd_rbee.errors.InvalidParamsError: width: got 100" in done.stderr
    assert "sd_rbee: unet: " in done.stderr


def test_info() -> None:
    facts = json.loads(cli("info", "--json").stdout)
    assert facts["version"] == sd_rbee.__version__
    assert (facts["backend"], facts["models"]) == ("cpu", {"pollen": str(POLLEN)})
    assert facts["devices"][0] == "cpu"
    assert facts["schedulers"] == backend.native.Scheduler.names()
    assert facts["features"] == backend.native.features()
    assert facts["cpu_features"] == backend.native.cpu_features()
    assert facts["instruction_set"] in facts["instruction_sets"] == backend.native.instruction_sets()
    done = cli("info")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"pollen ({POLLEN})" in done.stdout
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [key.replace("_", " ") for key in facts]


def test_verify() -> None:
    done = cli("verify", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["passed"]) == (0, True)
    parts = ["text encoder", "unet", "vae decode", "vae encode", "picture"]
    assert list(dict.fromkeys(check["part"] for check in told["checks"])) == parts
    for check in told["checks"]:
        assert check["passed"]
        assert 0 <= check["relative_rms"] <= check["tolerance"] < 0.1
    # Two engines that agree to the last bit would be one engine.
    assert all(check["relative_rms"] > 0 for check in told["checks"] if check["part"] == "unet")
    assert len(done.stderr.splitlines()) == len(told["checks"])


@POSIX
def test_odd_streams(tmp_path: Path) -> None:
    closed = shell("$sd info >&-", tmp_path)
    assert (closed.returncode, closed.stderr) == (1, "sd-rbee: stdout is closed, there is nowhere to print results\n")
    silent = shell("$sd generate 'a robot' $small -o a.png 2>&-", tmp_path)
    assert (silent.returncode, silent.stdout) == (0, "a.png\n")
    gone = shell("{ $sd info; echo $? >&2; } | true", tmp_path)
    assert gone.stderr == "1\n"
    gone = shell("{ $sd generate 'a robot' $small -q -o -; echo $? >&2; } | true", tmp_path)
    assert gone.stderr == "1\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    "command", ["info", "generate 'a robot' $small -q -o -", "generate 'a robot' $small -q --json"]
)
def test_a_full_disk_behind_stdout(command: str, tmp_path: Path) -> None:
    done = shell(f"$sd {command} > /dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "sd-rbee: No space left on device\n")


def test_the_module_and_the_script_are_one() -> None:
    script = Path(sys.executable).with_name("sd-rbee.exe" if sys.platform == "win32" else "sd-rbee")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == cli("--version").stdout
    assert run("-c", "from sd_rbee.cli import main; main()").returncode == 2
