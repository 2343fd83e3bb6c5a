"""Drawing over pictures from the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from given_images import blob, noise, values
from support import cli, pixels, pollen

QUICK = ["--steps", "2", "--seed", "7"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise(40, 24).save(tmp_path / "image.png")
    blob(40, 24).save(tmp_path / "mask.png")
    return tmp_path


def test_over_an_image(folder: Path) -> None:
    done = cli("generate", "a robot", *QUICK, "--image", "image.png", "--strength", "0.5", "-o", "a.png", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "a.png\n")
    assert "warning" not in done.stderr
    drawn = pollen().generate("a robot", image=noise(40, 24), strength=0.5, num_inference_steps=2, seed=7)
    with Image.open(folder / "a.png") as picture:
        assert np.array_equal(values(picture), pixels(drawn))
        assert json.loads(picture.info["sd-rbee"])["strength"] == 0.5


def test_a_part_of_one(folder: Path) -> None:
    options = ["--mask-blur", "2", "--padding-mask-crop", "4", "--width", "64", "--height", "48"]
    command = ["generate", "a robot", *QUICK, "--image", "image.png", "--mask", "mask.png", *options, "-o", "a.png"]
    done = cli(*command, "--json", cwd=folder)
    told = json.loads(done.stdout)
    assert told["parameters"]["task"] == "inpaint"
    assert (told["parameters"]["mask_blur"], told["parameters"]["padding_mask_crop"]) == (2, 4)
    (resized,) = told["warnings"]
    assert "was resized to 64 x 48 to be drawn over, and scaled back" in resized
    assert f"warning: {resized}\n" in done.stderr
    with Image.open(folder / "a.png") as picture:
        assert np.array_equal(values(picture)[:, :2], values(noise(40, 24))[:, :2])
    assert cli(*command, "--no-keep-unmasked", cwd=folder).returncode == 0
    with Image.open(folder / "a.png") as picture:
        assert picture.size == (40, 24)


def test_beyond_one(folder: Path) -> None:
    done = cli(
        "generate", "a robot", *QUICK, "--image", "image.png", "--outpaint", "8,0,16,8", "-o", "a.png", cwd=folder
    )
    assert done.returncode == 0
    with Image.open(folder / "a.png") as picture:
        assert picture.size == (64, 32)
        assert np.array_equal(values(picture)[:24, 8:48], values(noise(40, 24)))


def test_from_stdin_to_stdout(folder: Path) -> None:
    command = [sys.executable, "-m", "sd_rbee", "generate", "a robot", *QUICK, "-q", "--image", "-", "-o", "-"]
    with (folder / "image.png").open("rb") as image:
        done = subprocess.run(command, stdin=image, capture_output=True, timeout=60, check=True)
    assert done.stdout.startswith(b"\x89PNG")


WRONG = {
    "no file": (["--image", "none.png"], "sd-rbee: --image: got 'none.png': No such file or directory, allowed is"),
    "no image": (["--image", "notes.txt"], "sd-rbee: --image: got data of another kind, allowed is PNG, JPEG"),
    "nothing piped in": (["--image", "-"], "sd-rbee: --image: got data of another kind"),
    "mask alone": (["--mask", "mask.png"], "sd-rbee: --mask: got a mask of 40 x 24, allowed is none without an image"),
    "strength alone": (["--strength", "0.5"], "sd-rbee: --strength: got 0.5, allowed is none without an image"),
    "strength": (
        ["--image", "image.png", "--strength", "2"],
        "sd-rbee: --strength: got 2, allowed is a number above 0",
    ),
    "crop": (["--image", "image.png", "--padding-mask-crop", "2"], "sd-rbee: --padding-mask-crop: got 2, allowed is"),
    "blur": (["--image", "image.png", "--mask-blur", "2"], "sd-rbee: --mask-blur: got 2.0, allowed is nothing without"),
    "border": (["--image", "image.png", "--outpaint", "1,2,3"], "'1,2,3' is not four whole numbers, such as 0,64,0,64"),
    "words": (["--image", "image.png", "--outpaint", "a,b,c,d"], "'a,b,c,d' is not four whole numbers"),
    "inwards": (
        ["--image", "image.png", "--outpaint", "0,0,0,-8"],
        "sd-rbee: --outpaint: got -8, allowed is an int from",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_2(case: str, folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    before = sorted(folder.iterdir())
    options, says = WRONG[case]
    done = subprocess.run(
        [sys.executable, "-m", "sd_rbee", "generate", "x", *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert sorted(folder.iterdir()) == before
