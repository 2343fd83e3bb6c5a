"""Names of files: from prompts, numbered, never one that is taken."""

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sd_rbee import InvalidParamsError, images
from sd_rbee.cli.outputs import Output, slug
from support import pollen, small

EXAMPLES = settings(deadline=None, derandomize=True, max_examples=300)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a robot", "a-robot"),
        ("A Robot!", "a-robot"),
        ("", "image"),
        (" . ", "image"),
        ("../../etc/passwd", "etc-passwd"),
        ("~/.ssh", "ssh"),
        ("-rf *", "rf"),
        ("a_b__c", "a-b-c"),
        ("ein Käse, 3 €", "ein-käse-3"),
        ("ロボット", "ロボット"),
        ("x" * 100, "x" * 48),
        ("x" * 47 + " yz", "x" * 47),
        ("🤖", "image"),
    ],
)
def test_slugs(prompt: str, name: str) -> None:
    assert slug(prompt) == name


@EXAMPLES
@given(st.text() | st.text().map(lambda text: text * 1000))
def test_any_prompt_is_a_file_name(prompt: str) -> None:
    name = slug(prompt)
    assert 1 <= len(name) <= 48
    assert re.fullmatch(r"[^\W_]+(-[^\W_]+)*", name)
    # With a seed and a number behind it, it is still one that file systems take.
    assert len(f"{name}-{2**64 - 1}-1000.png".encode()) < 255
    with tempfile.TemporaryDirectory() as folder:
        images.check_writable(Path(folder) / f"{name}-{2**64 - 1}.png")
        images.write(Path(folder) / f"{name}.png", b"1")
        assert [path.name for path in Path(folder).iterdir()] == [f"{name}.png"]


@EXAMPLES
@given(st.text(st.characters(exclude_characters="/\\\0", codec="utf-8"), min_size=1, max_size=40), st.integers(1, 128))
def test_numbered_names_differ(stem: str, count: int) -> None:
    path = Path("folder") / f"{stem}.png"
    paths = images.numbered(path, count)
    assert len(set(paths)) == count
    assert all((other.parent, other.suffix) == (path.parent, ".png") for other in paths)
    assert paths[0] == (path if count == 1 else path.with_stem(f"{path.stem}-1"))


def test_nothing_unnamed_is_replaced(tmp_path: Path) -> None:
    result = pollen().generate("a robot", **small(num_images_per_prompt=2))
    written: list[Path] = []
    for _ in range(4):
        written += Output(tmp_path, "a robot", 2).write(result)
    numbers = ["", "-2", "-3", "-4"]
    assert [path.name for path in written] == [f"a-robot-{seed}{number}.png" for number in numbers for seed in (7, 8)]
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_what_is_named_is_replaced(tmp_path: Path) -> None:
    result = pollen().generate("a robot", **small(num_images_per_prompt=2))
    for _ in range(2):
        paths = Output(tmp_path / "a.webp", "a robot", 2).write(result)
        assert paths == [tmp_path / "a-1.webp", tmp_path / "a-2.webp"] == sorted(tmp_path.iterdir())


def test_checking_leaves_nothing(tmp_path: Path) -> None:
    Output(tmp_path, "a robot", 1)
    Output(tmp_path / "a.png", "a robot", 128)
    with pytest.raises(InvalidParamsError, match=r"^output: got 'a\.tiff'"):
        Output(tmp_path / "a.tiff", "a robot", 1)
    with pytest.raises(FileNotFoundError, match="none"):
        Output(tmp_path / "none" / "a.png", "a robot", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_replacing(tmp_path: Path) -> None:
    images.write(tmp_path / "a", b"1", replace=False)
    with pytest.raises(FileExistsError, match="a'"):
        images.write(tmp_path / "a", b"2", replace=False)
    assert (tmp_path / "a").read_bytes() == b"1"
    images.write(tmp_path / "a", b"3")
    assert (tmp_path / "a").read_bytes() == b"3"
    assert len(list(tmp_path.iterdir())) == 1
