"""Connections that break, bytes that are wrong, processes that are killed, and several at once."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hub_repositories import MODEL, NEEDED, UNET, model_files, tiny_files, with_model, with_tiny
from mock_hub import Hub, sha256
from sd_rbee import CheckpointError, models
from support import cli

TINY, WEIGHTS = "bees/tiny", "unet/diffusion_pytorch_model.safetensors"
CONFIG = "unet/config.json"


def begin(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sd_rbee", *arguments],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ranges(hub: Hub, path: str) -> list[str | None]:
    """What was asked for of a file, request by request."""
    return [call.headers.get("range") for call in hub.gets(path)]


def leftovers(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.name.endswith((".incomplete", ".new")))


def test_a_cut_connection_goes_on_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    with_model(hub).faults.cut[UNET] = [5_000_000, 2_000_000]
    done = cli("pull", MODEL, "-q", env=hub.env(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert ranges(hub, UNET) == [None, "bytes=5000000-", "bytes=7000000-"]
    assert sha256((Path(done.stdout.strip()) / UNET).read_bytes()) == sha256(model_files()[UNET])
    assert leftovers(tmp_path) == []


def test_a_hub_that_sends_whole_files_begins_anew(hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).faults.cut[WEIGHTS] = [100_000]
    hub.faults.deaf = True
    done = cli("pull", TINY, "-q", env=hub.env(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert ranges(hub, WEIGHTS) == [None, "bytes=100000-"]


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).faults.status[WEIGHTS] = [503, 429]
    done = cli("pull", TINY, "-q", env=hub.env(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert ranges(hub, WEIGHTS) == [None] * 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_process_that_was_ended_left_what_had_come(
    number: signal.Signals, code: int, hub: Hub, tmp_path: Path
) -> None:
    env = with_model(hub).env(tmp_path)
    hub.faults.stall[UNET] = 9_000_000
    with begin("pull", MODEL, env=env) as first:
        assert hub.stalled.wait(60)
        [partial] = (tmp_path / "hub/models--bees--pollen/blobs").glob("*.incomplete")
        while partial.stat().st_size < 8_900_000:
            assert first.poll() is None
        first.send_signal(number)
        assert first.wait(60) == code
    have = partial.stat().st_size
    assert 8_900_000 <= have <= 9_000_000
    hub.calls.clear()
    done = cli("pull", MODEL, "-q", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert ranges(hub, UNET) == [f"bytes={have}-"]
    assert leftovers(tmp_path) == []


def test_a_wrong_earlier_part_is_not_built_on(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path)
    blobs = tmp_path / "hub/models--bees--tiny/blobs"
    blobs.mkdir(parents=True)
    for earlier in (b"x" * 1000, b"x" * 1_000_000):
        (blobs / f"{sha256(tiny_files()[WEIGHTS])}.sd-rbee.incomplete").write_bytes(earlier)
        done = cli("pull", TINY, "-q", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        (blobs / sha256(tiny_files()[WEIGHTS])).unlink()


@pytest.mark.parametrize("path", [WEIGHTS, CONFIG])
def test_wrong_bytes_are_named_and_not_kept(path: str, hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).faults.spoil.add(path)
    done = cli("pull", TINY, env=hub.env(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert f"sd-rbee: {TINY}: {path} is not what the hub lists: its " in done.stderr
    assert leftovers(tmp_path) == []
    assert not list(tmp_path.rglob("sd-rbee.lock.json"))
    find = cli("generate", "x", "--model", TINY, env=hub.env(tmp_path, HF_HUB_OFFLINE="1"))
    assert (find.returncode, "is not at hand" in find.stderr) == (3, True)
    hub.faults.spoil.clear()
    assert cli("pull", TINY, env=hub.env(tmp_path)).returncode == 0


@pytest.mark.parametrize("size", [199_999, 200_001])
def test_a_size_that_is_not_the_listed_one(size: int, hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).repos[TINY].listed[WEIGHTS] = {"size": size}
    done = cli("pull", TINY, env=hub.env(tmp_path))
    assert done.returncode == 3
    assert f"{WEIGHTS} is not what the hub lists: it has " in done.stderr
    assert leftovers(tmp_path) == []


def test_a_disk_without_room_is_told_before(hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).repos[TINY].listed[WEIGHTS] = {"size": 10**18}
    done = cli("pull", TINY, env=hub.env(tmp_path))
    assert done.returncode == 3
    assert "bees/tiny needs 1000000000.0 GB more, and the disk of " in done.stderr
    assert "make room there, or set HF_HUB_CACHE" in done.stderr
    assert WEIGHTS not in hub.paths()


def test_two_pulls_at_once_are_one(hub: Hub, tmp_path: Path) -> None:
    env = with_model(hub).env(tmp_path)
    both = [begin("pull", MODEL, "-q", env=env) for _ in range(2)]
    told = [(process.communicate(timeout=60), process.returncode) for process in both]
    [((stdout, _), _), _] = told
    assert told == [((stdout, ""), 0)] * 2
    assert sorted(hub.paths()) == sorted(NEEDED)
    lock = json.loads((Path(stdout.strip()).parents[1] / "sd-rbee.lock.json").read_text())
    assert set(lock["pulls"][0]["files"]) == NEEDED
    assert leftovers(tmp_path) == []


def test_pulls_of_different_models_at_once_keep_both(hub: Hub, tmp_path: Path) -> None:
    names = [f"bees/tiny{number}" for number in range(3)]
    for name in names:
        with_tiny(hub, name)
        hub.add(name, tiny_files(), "two")
    env = hub.env(tmp_path)
    started = [begin("pull", f"{name}{at}", "-q", env=env) for name in names for at in ("", "@two")]
    assert [process.communicate(timeout=60)[1] for process in started] == [""] * 6
    listed = json.loads(cli("models", "--json", env=env).stdout)["models"]
    assert [row["id"] for row in listed if row["id"]] == [f"{name}{at}" for name in names for at in ("", "@two")]
    assert not any(row["damages"] for row in listed)


def test_damage_is_found_and_mended(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path)
    folder = Path(cli("pull", TINY, "-q", env=env).stdout.strip())
    done = cli("models", "--verify", "-q", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    weights = (folder / WEIGHTS).resolve()
    weights.write_bytes(bytes(200_000))
    (folder / CONFIG).resolve().unlink()
    done = cli("models", env=env)
    assert (done.returncode, "bees/tiny (damaged)" in done.stdout) == (3, True)
    assert done.stderr == f"sd-rbee: {TINY}: {CONFIG} is missing; `sd-rbee pull {TINY}` mends it\n"
    done = cli("models", "--verify", "--json", "-q", env=env)
    assert done.returncode == 3
    [row] = [row for row in json.loads(done.stdout)["models"] if row["id"]]
    digests = f"{sha256(bytes(200_000))}, not {sha256(tiny_files()[WEIGHTS])}"
    assert row["damages"] == {CONFIG: "is missing", WEIGHTS: f"has the sha256 {digests}"}
    hub.calls.clear()
    assert cli("pull", TINY, env=env).returncode == 0
    assert sorted(hub.paths()) == [CONFIG, WEIGHTS]
    assert cli("models", "--verify", env=env).returncode == 0


def test_a_damaged_lock_file_is_named(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = with_tiny(hub).env(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    cli("pull", TINY, env=env)
    [path] = tmp_path.rglob("sd-rbee.lock.json")
    whole = json.loads(path.read_text())
    entry = whole["pulls"][0]
    for text in (
        "",
        "[]",
        "{}",
        json.dumps({**whole, "version": 2}),
        json.dumps({**whole, "repo": "bees/other"}),
        json.dumps({**whole, "pulls": [{**entry, "commit": "../../.."}]}),
        json.dumps({**whole, "pulls": [{**entry, "variant": "fp8"}]}),
        json.dumps({**whole, "pulls": [{**entry, "files": {"../x": {"size": 1, "sha256": ""}}}]}),
        json.dumps({**whole, "pulls": [{**entry, "root": "../x"}]}),
    ):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=f"{re.escape(str(path))} is no lock file of this version"):
            models.resolve(TINY)
    for command in (("pull", TINY), ("models",), ("generate", "x", "--model", TINY)):
        done = cli(*command, env=env)
        assert done.returncode == 3
        assert f"{path} is no lock file of this version; delete it and pull {TINY} again" in done.stderr
