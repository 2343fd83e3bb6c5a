"""The parts of the embedded model's training recipe that need no torch."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import tarfile
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tools.pollen import captions, download, files, layout, pictures, scenes, stages, things
from tools.pollen.__main__ import parser, settings_of
from tools.pollen.errors import RecipeError
from tools.pollen.settings import REPOSITORY, SHIPPED
from tools.pollen.things import Thing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.pollen.scenes import Scene

ROBOT = Thing("1f916", "robot", (), ("face", "monster"))
CAR = Thing("1f697", "automobile", ("car",), ("car", "drive", "vehicle"))
HAT = Thing("1f452", "woman\N{RIGHT SINGLE QUOTATION MARK}s hat", ("sun hat",), ("clothing",))
FEW = (ROBOT, CAR, HAT)
CHOSEN = things.read_choice()
COLOURS = st.sampled_from(sorted(captions.COLOURS))
FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


def test_things_are_well_formed() -> None:
    assert len(CHOSEN) == 612
    assert len({thing.hexcode for thing in CHOSEN}) == len(CHOSEN)
    assert len({thing.label for thing in CHOSEN}) == len(CHOSEN)
    assert {"robot", "candle", "red apple", "owl", "guitar"} <= {thing.label for thing in CHOSEN}


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"hexcode": "1f916", "label": "robot"}, "aliases"),
        ({"hexcode": "1F916", "label": "robot", "aliases": []}, "hexcode"),
        ({"hexcode": "../etc", "label": "robot", "aliases": []}, "hexcode"),
        ({"hexcode": "1f916", "label": " ", "aliases": []}, "label"),
        ({"hexcode": "1f916", "label": "robot", "aliases": "bot"}, "aliases"),
        ("robot", "hexcode"),
    ],
)
def test_a_misshapen_thing_is_refused_by_field(tmp_path: Path, entry: object, named: str) -> None:
    (tmp_path / "things.json").write_text(json.dumps([entry]), "utf-8")
    with pytest.raises(RecipeError, match=named):
        things.read_choice(tmp_path / "things.json")


def test_a_thing_that_comes_twice_is_refused(tmp_path: Path) -> None:
    entry = {"hexcode": "1f916", "label": "robot", "aliases": []}
    (tmp_path / "things.json").write_text(json.dumps([entry, entry]), "utf-8")
    with pytest.raises(RecipeError, match="1f916 comes twice"):
        things.read_choice(tmp_path / "things.json")


def test_tags_are_found_whatever_the_case_and_the_selector() -> None:
    heart = Thing("2764-fe0f", "red heart", ())
    annotations: list[dict[str, Any]] = [{"hexcode": "1F916", "skins": [{"hexcode": "2764", "tags": ["love"]}]}]
    assert things.with_tags((heart,), annotations)[0].tags == ("love",)
    with pytest.raises(RecipeError, match=r"1f697 \(automobile\)"):
        things.with_tags((CAR,), annotations)


@given(COLOURS, st.integers(0, 2**32))
def test_every_thing_has_its_captions(colour: str, seed: int) -> None:
    thing = CHOSEN[seed % len(CHOSEN)]
    said = captions.of_thing(thing, colour, Random(seed))
    assert said == captions.of_thing(thing, colour, Random(seed))
    assert len(said) == captions.CAPTIONS
    names = [captions.plain(name) for name in thing.names]
    assert all(any(name in caption for name in names) for caption in said)
    assert all(caption == captions.plain(caption) for caption in said)
    named = [caption.endswith(captions.background(colour)) for caption in said]
    assert all(named) if colour != captions.PLAIN else sum(named) == 1


def test_captions_say_what_the_recipe_says() -> None:
    said = captions.of_thing(CAR, "blue", Random(3))
    end = " on a blue background"
    assert {"automobile" + end, "an automobile" + end, "a car" + end, "car" + end} <= set(said)
    assert any(caption.startswith("a 3d icon of a") for caption in said)
    assert any(caption.startswith("automobile, ") for caption in said)
    assert "a woman's hat" in captions.of_thing(HAT, "white", Random(5))[1]


@given(COLOURS, st.integers(0, 2**32))
def test_pairs_name_both_things_in_the_right_places(colour: str, seed: int) -> None:
    random = Random(seed)
    left, right = random.sample(CHOSEN, 2)
    said = captions.of_pair(left, right, colour, Random(seed))
    assert said == captions.of_pair(left, right, colour, Random(seed))
    assert len(said) == captions.CAPTIONS
    for caption in said:
        assert any(captions.plain(name) in caption for name in left.names)
        assert any(captions.plain(name) in caption for name in right.names)
        assert caption.endswith(captions.background(colour)) == (colour != captions.PLAIN)


def test_pairs_are_phrased_as_the_recipe_says() -> None:
    plain = Thing("1f697", "automobile", ())
    said = captions.of_pair(ROBOT, plain, "red", Random(0))
    end = " on a red background"
    assert {caption.removesuffix(end) for caption in said} == {
        "a robot and an automobile",
        "robot and automobile",
        "an automobile and a robot",
        "a robot next to an automobile",
        "an automobile next to a robot",
        "a robot on the left and an automobile on the right",
    }


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("robot", "a robot"),
        ("owl", "an owl"),
        ("hourglass", "an hourglass"),
        ("unicorn", "a unicorn"),
        ("ufo", "a ufo"),
        ("umbrella", "an umbrella"),
        ("glasses", "glasses"),
        ("bus", "a bus"),
        ("rhinoceros", "a rhinoceros"),
        ("globe showing americas", "a globe showing americas"),
        ("slice of cake", "a slice of cake"),
    ],
)
def test_articles(name: str, phrase: str) -> None:
    assert captions.with_article(name) == phrase


def test_scenes_are_deterministic_and_complete() -> None:
    def made(seed: int) -> list[Scene]:
        return scenes.singles(FEW, Random(seed)) + scenes.pairs(FEW, 40, Random(seed + 1))

    told = made(7)
    assert told == made(7)
    assert told != made(8)
    alone = [scene for scene in told if len(scene.placed) == 1]
    assert len(alone) == 16 * len(FEW)
    for at in range(len(FEW)):
        colours = [scene.colour for scene in alone if scene.placed[0].thing == at]
        assert sorted(colours) == sorted([*captions.COLOURS, *["white"] * 4])
    pairs = told[len(alone) :]
    assert len(pairs) == 40
    shown = [placed.thing for scene in pairs for placed in scene.placed]
    assert all(abs(shown.count(at) - len(shown) / len(FEW)) <= 1 for at in range(len(FEW)))
    for scene in pairs:
        left, right = scene.placed
        assert left.thing != right.thing
        assert 0 <= left.x <= left.x + left.size <= scenes.HALF <= right.x <= right.x + right.size <= scenes.SIZE


def test_scenes_survive_their_file(tmp_path: Path) -> None:
    request = parser().parse_args(["captions", "--work", str(tmp_path), "--pairs", "5", "--device", "cpu"])
    asked = settings_of(request)
    annotations = [{"hexcode": thing.hexcode.upper(), "tags": ["tag"]} for thing in CHOSEN]
    files.write_text(asked.raw / "en" / "data.json", json.dumps(annotations))
    figures = scenes.run(asked)
    told = scenes.load(asked.scenes)
    assert figures["scenes"] == len(told) == 16 * len(CHOSEN) + 5
    assert told[: 16 * len(CHOSEN)] == scenes.singles(things.load(asked.raw / "en" / "data.json"), Random(0))


def test_a_scene_is_drawn_where_it_is_placed() -> None:
    red = np.zeros((1, scenes.SIZE, scenes.SIZE, 4), np.uint8)
    red[..., 0] = red[..., 3] = 255
    drawn = pictures.draw(scenes.Scene((scenes.Placed(0, 3, 40, 60),), "teal", ()), red)
    assert drawn.shape == (scenes.SIZE, scenes.SIZE, 3)
    assert (drawn[40:100, 3:63] == (255, 0, 0)).all()
    rest = drawn.copy()
    rest[40:100, 3:63] = captions.COLOURS["teal"]
    assert (rest == captions.COLOURS["teal"]).all()


def test_a_picture_is_made_square_and_must_have_transparency(tmp_path: Path) -> None:
    Image.new("RGBA", (256, 128), (0, 0, 255, 255)).save(tmp_path / "wide.png")
    read = pictures.read(tmp_path / "wide.png")
    assert read.shape == (128, 128, 4)
    assert (read[40:88] == (0, 0, 255, 255)).all()
    assert (read[[0, 20, 107, 127], :, 3] == 0).all()
    Image.new("RGB", (128, 128)).save(tmp_path / "opaque.webp")
    with pytest.raises(RecipeError, match="transparency"):
        pictures.read(tmp_path / "opaque.webp")


def tarball(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, contents in members.items():
            if isinstance(contents, bytes):
                info = tarfile.TarInfo(name)
                info.size = len(contents)
                archive.addfile(info, io.BytesIO(contents))
            else:
                archive.addfile(contents)
    return path


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    packed = tarball(tmp_path / "a.tgz", {"package/en/data.json": b"[]", "package/README.md": b"no"})
    got = download.extract(packed, tmp_path / "raw", lambda path: path == "en/data.json")
    assert got == ["en/data.json"]
    assert [path.relative_to(tmp_path / "raw").as_posix() for path in (tmp_path / "raw").rglob("*")] == [
        "en",
        "en/data.json",
    ]
    assert (tmp_path / "raw" / "en" / "data.json").read_bytes() == b"[]"


@FIXTURE
@given(
    st.sampled_from(["/{}", "../{}", "package/../../{}", "package/a/../../../{}", "C:/{}", "package\\..\\..\\{}"]),
    st.text("abc", min_size=1, max_size=5),
    st.booleans(),
)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, pattern: str, name: str, wanted: bool) -> None:
    packed = tarball(tmp_path / "evil.tgz", {"package/fine": b"fine", pattern.format(name): b"evil"})
    with pytest.raises(RecipeError, match="leaves the folder"):
        download.extract(packed, tmp_path / "deep" / "raw", lambda path: wanted or path == "fine")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.tgz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("package/en/data.json")
    info.type, info.linkname = kind, "/etc/passwd"
    packed = tarball(tmp_path / "evil.tgz", {"package/en/data.json": info})
    with pytest.raises(RecipeError, match="not a regular file"):
        download.extract(packed, tmp_path / "raw", lambda _: True)
    assert not (tmp_path / "raw").exists()


def test_a_tarball_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    package = download.Package("thing", "1.0.0", "thing-1.0.0.tgz", "")

    def bring(_: download.Package, into: Path) -> None:
        (into / package.tarball).write_bytes(b"what was promised")

    with pytest.raises(RecipeError, match=r"integrity is sha512-.*allowed is"):
        download.fetch(package, tmp_path, bring)
    pinned = download.Package("thing", "1.0.0", "thing-1.0.0.tgz", download.integrity(tmp_path / package.tarball))
    assert download.fetch(pinned, tmp_path, fail_if_asked) == tmp_path / package.tarball


def fail_if_asked(package: download.Package, into: Path) -> None:
    raise AssertionError(f"{package.name} is in {into} already")


def test_the_pinned_packages_are_the_attributed_ones() -> None:
    notice = (SHIPPED / "NOTICE").read_text("utf-8")
    for package in (download.FLUENT, download.EMOJIBASE):
        assert f"{package.name} {package.version}" in notice
        assert len(package.integrity) == len("sha512-") + 88


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--minutes-vae", "-1"], "minutes_vae: -1.0 was given, allowed is 0 or more"),
        (["--minutes-unet", "0"], "minutes_unet: 0.0 was given"),
        (["--unet-channels", "64", "96", "100"], r"unet_channels: \(64, 96, 100\) was given"),
        (["--batch", "4"], "batch: 4"),
        (["--threads", "0"], "threads: 0"),
        (["--start", "nowhere"], "start: nowhere was given, allowed is a diffusers folder"),
        (["--freeze-encoder"], "freeze_encoder: True was given, allowed is only with --start"),
    ],
)
def test_bad_settings_are_refused_by_name(arguments: list[str], named: str) -> None:
    with pytest.raises(RecipeError, match=named):
        settings_of(parser().parse_args(["all", "--device", "cpu", *arguments]))


def test_a_further_cycle_has_its_own_defaults() -> None:
    anew = settings_of(parser().parse_args(["all", "--device", "cpu"]))
    more = settings_of(parser().parse_args(["all", "--device", "cpu", "--start", str(SHIPPED)]))
    assert (anew.minutes_vae, anew.minutes_unet, anew.rate_unet) == (45, 98, 1.2e-3)
    assert (more.minutes_vae, more.minutes_unet, more.rate_unet) == (0, 32, 6e-4)
    assert anew.trains_vae
    assert not more.trains_vae


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every stage does nothing but leave its name here."""
    done: list[str] = []

    class Module:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, _: object) -> dict[str, Any]:
            done.append(self.name.rsplit(".", 1)[1])
            return {}

    make: Callable[[str], Module] = Module
    monkeypatch.setattr(importlib, "import_module", make)
    return done


def test_stages_are_done_once_and_undone_with_what_builds_on_them(tmp_path: Path, counted: list[str]) -> None:
    asked = settings_of(parser().parse_args(["all", "--device", "cpu", "--work", str(tmp_path)]))
    stages.run("tokenizer", asked, force=False)
    assert counted == ["download", "scenes", "tokenizer"]
    stages.run("all", asked, force=False)
    assert counted == ["download", "scenes", "tokenizer", "pictures", "vae", "latents", "denoiser", "export", "sample"]
    counted.clear()
    stages.run("all", asked, force=False)
    assert counted == []
    stages.run("vae", asked, force=True)
    assert counted == ["vae"]
    stages.run("all", asked, force=False)
    assert counted == ["vae", "latents", "denoiser", "export", "sample"]


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "before")

    def interrupted() -> None:
        with files.whole(tmp_path / "a") as draft:
            draft.write_text("half", "utf-8")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        interrupted()
    assert (tmp_path / "a").read_text("utf-8") == "before"


def test_the_layout_check_sees_what_differs(tmp_path: Path) -> None:
    assert layout.differences(SHIPPED, SHIPPED) == []
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text('{"act_fn": "silu", "surplus": 1}', "utf-8")
    (tmp_path / "surplus.txt").write_text("", "utf-8")
    lines = layout.differences(tmp_path, SHIPPED)
    assert "surplus.txt is not in the reference" in lines
    assert "unet/config.json is missing" in lines
    assert "vae/config.json: surplus is not in the reference" in lines
    assert "vae/config.json: scaling_factor is missing" in lines
    assert not any("act_fn" in line for line in lines)


def test_the_shipped_tensors_are_f16_of_the_recipe_s_shapes() -> None:
    unet = layout.tensors(SHIPPED / "unet" / "diffusion_pytorch_model.safetensors")
    assert {dtype for dtype, _ in unet.values()} == {"F16"}
    assert unet["conv_in.weight"] == ("F16", (64, 8, 3, 3))


def test_the_first_stages_import_no_torch() -> None:
    program = (
        "import sys; from tools.pollen import __main__, download, pictures, scenes, layout; "
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
