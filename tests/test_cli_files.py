"""Where the command puts pictures, and what it leaves behind when it cannot."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from support import SMALL, cli, draw, pixels, pollen, run, small

if sys.platform != "win32":
    import pty


def robot(seed: int = 7) -> NDArray[np.uint8]:
    """What `draw("--seed", seed)` draws."""
    return pixels(pollen().generate("a robot", **small(num_inference_steps=1, seed=seed)))


def opened(path: Path | io.BytesIO) -> tuple[NDArray[np.uint8], dict[str, object]]:
    with Image.open(path) as picture:
        picture.load()
        return np.asarray(picture), {f"{key}": value for key, value in picture.info.items()}


def test_a_named_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.PNG"
    target.parent.mkdir()
    target.write_text("old")
    assert draw("--seed", "7", "-o", target).stdout == f"{target}\n"
    assert np.array_equal(opened(target)[0], robot())
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("given", [None, "pictures", "pictures/"])
def test_in_a_folder_nothing_is_replaced(given: str | None, tmp_path: Path) -> None:
    folder = tmp_path if given is None else tmp_path / "pictures"
    folder.mkdir(exist_ok=True)
    for name in ("a-robot-7.png", "a-robot-7-2.png"):
        (folder / name).write_text("mine")
    # A folder that has the name of a prompt is no obstacle.
    (folder / "a-robot.png").mkdir()
    options = [] if given is None else ["-o", given]
    done = draw("--seed", "7", "-n", "2", *options, cwd=tmp_path)
    shown = "" if given is None else f"pictures{os.sep}"
    assert done.stdout == f"{shown}a-robot-7-3.png\n{shown}a-robot-8.png\n"
    assert (folder / "a-robot-7.png").read_text() == "mine"
    assert np.array_equal(opened(folder / "a-robot-7-3.png")[0], robot())
    assert np.array_equal(opened(folder / "a-robot-8.png")[0], robot(8))
    assert len(list(folder.iterdir())) == 5


def test_several_pictures_are_numbered(tmp_path: Path) -> None:
    done = draw("--seed", "7", "-n", "3", "-o", "robot.png", cwd=tmp_path)
    assert done.stdout.split() == ["robot-1.png", "robot-2.png", "robot-3.png"]
    for number, seed in enumerate((7, 8, 9), 1):
        assert np.array_equal(opened(tmp_path / f"robot-{number}.png")[0], robot(seed))


def test_a_picture_on_stdout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sd_rbee", "generate", "a robot", *SMALL, "--seed", "7", "-o", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    picture, info = opened(io.BytesIO(done.stdout))
    assert np.array_equal(picture, robot())
    assert "parameters" in info
    assert list(tmp_path.iterdir()) == []


def test_a_png_says_how_it_was_drawn(tmp_path: Path) -> None:
    done = draw("--seed", "7", "--negative", "blue", "--scheduler", "euler-ancestral", "-o", "a.png", cwd=tmp_path)
    assert done.returncode == 0
    _, info = opened(tmp_path / "a.png")
    version = json.loads(f"{info['sd-rbee']}")["version"]
    assert info["parameters"] == (
        "a robot\nNegative prompt: blue\nSteps: 1, Sampler: Euler a, CFG scale: 3.5, Seed: 7, Size: 24x16, "
        f"Model: pollen, RNG: CPU, Version: sd-rbee {version}"
    )
    recipe = json.loads(f"{info['sd-rbee']}")
    expected = {"prompt": "a robot", "negative_prompt": "blue", "seed": 7, "image": 0, "scheduler": "euler-ancestral"}
    assert {key: recipe[key] for key in expected} == expected
    keys = {"height", "width", "num_inference_steps", "guidance_scale", "eta"}
    again = pollen().generate(
        recipe["prompt"],
        **{key: recipe[key] for key in [*keys, "negative_prompt", "seed", "scheduler"]},
    )
    assert np.array_equal(opened(tmp_path / "a.png")[0], pixels(again))


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_other_formats_say_so_in_exif(name: str, tmp_path: Path) -> None:
    assert cli("generate", "a robot, ロボット 🤖", *SMALL, "-o", name, cwd=tmp_path).returncode == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.format == {"a.webp": "WEBP"}.get(name, "JPEG")
        comment = picture.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.startswith(b"UNICODE\0")
    lines = comment[8:].decode("utf-16-be").splitlines()
    assert lines[0] == "a robot, ロボット 🤖"
    assert lines[1].startswith("Steps: 1, Sampler: DDIM, ")


def test_webp_is_lossless(tmp_path: Path) -> None:
    draw("--seed", "7", "-o", "a.webp", cwd=tmp_path)
    assert np.array_equal(opened(tmp_path / "a.webp")[0], robot())


UNWRITABLE = {
    "no folder": ("none/a.png", "none: No such file or directory"),
    "under a file": ("file.txt/a.png", "file.txt/a.png: Not a directory"),
    "no place for files": ("/proc/a.png", "/proc: "),
    "a device": ("device.png", "device.png: Exists and is not a regular file"),
    "too long": ("x" * 300 + ".png", "File name too long"),
    "a link to nowhere": ("link.png", "/nowhere: No such file or directory"),
    "a pipe": ("pipe.png", "pipe.png: Exists and is not a regular file"),
    "a second one": ("pair.png", "pair-2.png: Is a directory"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the messages are those of Linux")
@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_cannot_be_written_is_1_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    target, says = UNWRITABLE[case]
    (tmp_path / "device.png").symlink_to("/dev/full")
    (tmp_path / "pair-2.png").mkdir()
    (tmp_path / "file.txt").write_text("mine")
    (tmp_path / "link.png").symlink_to("/nowhere/a.png")
    os.mkfifo(tmp_path / "pipe.png")
    before = sorted(tmp_path.rglob("*"))
    done = draw("-o", target, *(["-n", "2"] if case == "a second one" else []), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    # Known before anything was drawn.
    assert done.stderr.startswith("sd-rbee: ")
    assert sorted(tmp_path.rglob("*")) == before


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
from sd_rbee.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
@pytest.mark.parametrize("target", ["a.png", "old.png", "."])
def test_a_disk_that_gets_full_leaves_no_part(target: str, tmp_path: Path) -> None:
    (tmp_path / "old.png").write_text("mine")
    done = run("-c", FULL, "generate", "a robot", *SMALL, "-q", "-o", target, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "sd-rbee: File too large\n")
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.png").symlink_to("there/b.png")
    assert draw("-o", "a.png", cwd=tmp_path).stdout == "a.png\n"
    assert (tmp_path / "a.png").is_symlink()
    assert opened(tmp_path / "there/b.png")[0].shape == (16, 24, 3)


def on_terminal(*options: str, cwd: Path, stdout: bool = False) -> tuple[int, bytes, str]:
    """`sd-rbee generate` with stderr, or all of its output, on a terminal: exit code, stdout, the terminal's text."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sd_rbee", "generate", "a robot", "--seed", "7", *options]
    out = theirs if stdout else subprocess.PIPE
    terminal = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, cwd=cwd, stdout=out, stderr=theirs, env=terminal) as child:
        os.close(theirs)
        seen = b""
        # A terminal that was closed at the other end reads as an error.
        while chunk := read(ours):
            seen += chunk
        printed = b"" if child.stdout is None else child.stdout.read()
    os.close(ours)
    return child.returncode, printed, seen.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals to make")
def test_a_terminal_shows_a_bar(tmp_path: Path) -> None:
    code, printed, seen = on_terminal("--steps", "60", cwd=tmp_path)
    assert (code, printed) == (0, b"a-robot-7.png\n")
    assert re.search(r"denoise .*━.*\d+/60", seen)
    assert "\x1b[?25h" in seen
    assert "1/60, " not in seen
    # The bar is gone in the end, and what is left is one line.
    assert seen.splitlines()[-1].endswith(")")
    assert "seed 7; " in seen.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals to make")
def test_a_terminal_takes_no_picture(tmp_path: Path) -> None:
    code, _, seen = on_terminal("-o", "-", cwd=tmp_path, stdout=True)
    assert code == 2
    assert "stdout is a terminal" in seen
