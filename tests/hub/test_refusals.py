"""What the hub refuses, what no network is, and what a hub with bad intentions tries."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub_repositories import tiny_files, with_tiny
from mock_hub import TOKEN, Hub
from sd_rbee import CheckpointError, DownloadError, InvalidParamsError, ModelNotFoundError
from sd_rbee.hub import cache
from sd_rbee.hub.failures import explained
from sd_rbee.hub.reference import Reference, parse
from sd_rbee.hub.repository import leads_out
from sd_rbee.hub.selection import select
from support import cli, run

TINY, WEIGHTS = "bees/tiny", "unet/diffusion_pytorch_model.safetensors"


def refused(*arguments: str, env: dict[str, str]) -> str:
    """What a pull that fails says, in one line."""
    done = cli("pull", *arguments, env=env)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("sd-rbee: ")
    assert "Traceback" not in done.stderr
    return line.removeprefix("sd-rbee: ")


def test_a_gated_repository_says_the_way_in(hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).repos[TINY].gated = True
    page = f"{hub.url}/{TINY}"
    assert refused(TINY, env=hub.env(tmp_path)) == (
        f"{TINY} is gated: log in at {page}, accept the conditions there, make a token that may read at "
        f"{hub.url}/settings/tokens, and set HF_TOKEN to it"
    )
    env = hub.env(tmp_path, HF_TOKEN=TOKEN)
    said = refused(TINY, env=env)
    assert said.startswith(
        f"{TINY} is gated: the account of your token has no access yet. Accept the conditions at {page}"
    )
    assert TOKEN not in said
    hub.repos[TINY].admits = True
    assert cli("pull", TINY, env=env).returncode == 0


def test_the_token_goes_to_the_endpoint_alone(hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub)
    (tmp_path / "token").write_text(TOKEN)
    for name, token in (("variable", {"HF_TOKEN": TOKEN}), ("file", {"HF_TOKEN_PATH": str(tmp_path / "token")})):
        hub.calls.clear()
        assert cli("pull", TINY, env=hub.env(tmp_path / name, **token)).returncode == 0
        # huggingface_hub itself asks for other things, without a token.
        ours = [call for call in hub.calls if "bees" in call.path]
        sent = {(call.host, call.headers.get("authorization")) for call in ours}
        assert sent == {("hub", f"Bearer {TOKEN}"), ("files", None)}


def test_a_token_that_the_hub_does_not_know(hub: Hub, tmp_path: Path) -> None:
    said = refused(TINY, env=with_tiny(hub).env(tmp_path, HF_TOKEN="hf_wrong"))
    assert (
        said == f"{TINY}: {hub.url} does not know the token that it was sent; set HF_TOKEN to a valid one, or unset it"
    )


def test_what_is_not_there(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path)
    said = refused("bees/none", env=env)
    assert said == f"there is no model bees/none at {hub.url}, unless it is private: then set HF_TOKEN"
    said = refused("bees/none", env={**env, "HF_TOKEN": TOKEN})
    assert said == f"there is no model bees/none at {hub.url}, unless the account of HF_TOKEN may not see it"
    said = refused(f"{TINY}@v9", env=env)
    assert said == f"{TINY} has no branch, tag or commit 'v9', see {hub.url}/{TINY}"
    done = cli("generate", "x", "--model", "models/none", env=env)
    assert (done.returncode, done.stdout) == (3, "")
    assert "sd-rbee: models/none is no path, and of the hub: there is no model models/none at " in done.stderr


def test_no_network(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path)
    nowhere = {**env, "HF_ENDPOINT": "http://127.0.0.1:9"}
    said = refused(TINY, env=nowhere)
    assert said.startswith(f"{TINY}: http://127.0.0.1:9 cannot be reached (")
    assert said.endswith("); what has come is kept, try again")
    assert "cannot be reached" in refused(TINY, env={**env, "HF_ENDPOINT": "no address"})
    folder = cli("pull", TINY, "-q", env=env).stdout
    assert cli("pull", TINY, "-q", env=nowhere).stdout == folder


def test_offline(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path)
    offline = {**env, "HF_HUB_OFFLINE": "1"}
    said = refused(TINY, env=offline)
    assert said == f"{TINY} is not at hand, and HF_HUB_OFFLINE forbids to download it; unset it, and pull it"
    assert hub.calls == []
    folder = cli("pull", TINY, "-q", env=env).stdout
    hub.calls.clear()
    assert cli("pull", TINY, "-q", env=offline).stdout == folder
    find = f"from sd_rbee import models; print(models.resolve('{TINY}', download=True))"
    assert run("-c", find, env=offline).stdout == folder
    assert refused(TINY, "--update", env=offline).startswith(f"{TINY} is not at hand, and HF_HUB_OFFLINE")
    assert hub.calls == []


def test_other_answers(hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).faults.status["unet/config.json"] = [403, 418]
    assert f"{TINY}: {hub.url} forbids it to the token" in refused(TINY, env=hub.env(tmp_path))
    assert f"{TINY}: {hub.url} answered with status 418" in refused(TINY, env=hub.env(tmp_path))


def test_a_hub_that_stays_busy_is_given_up(hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).faults.status["unet/config.json"] = [500] * 6
    at_once = "from sd_rbee.hub import transfer; transfer._SECONDS = 0; from sd_rbee.cli import main; main()"
    done = run("-c", at_once, "pull", TINY, "-q", env=hub.env(tmp_path))
    assert done.returncode == 3
    assert f"{TINY}: {hub.url} answered with status 500; what has come is kept, try again later" in done.stderr
    assert hub.faults.status["unet/config.json"] == []
    assert hub.paths().count("unet/config.json") == 6


@pytest.mark.parametrize("name", ["../x", "unet/../../x", "/etc/x", "..\\x", "C:\\x", "a//b", "C:x"])
def test_paths_that_lead_out_of_a_repository(name: str, hub: Hub, tmp_path: Path) -> None:
    hub.add(TINY, {**tiny_files(), name: b"x"})
    assert f"{TINY}: the hub lists {name!r}, which is no path inside of a repository" in refused(
        TINY, env=hub.env(tmp_path / "home")
    )
    assert leads_out(name)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    "shard", ["../x.safetensors", "../vae/diffusion_pytorch_model.safetensors", "x.bin", "/x.safetensors"]
)
def test_shards_that_are_not_beside_their_index(shard: str, hub: Hub, tmp_path: Path) -> None:
    files = tiny_files()
    del files[WEIGHTS]
    hub.add(TINY, {**files, f"{WEIGHTS}.index.json": json.dumps({"weight_map": {"a": shard}}).encode()})
    said = refused(TINY, env=hub.env(tmp_path))
    assert said == f"{TINY}: {WEIGHTS}.index.json: {shard!r} is not the name of a safetensors file beside it"


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ({"blobId": "../../x"}, f"does not say what {WEIGHTS} hashes to"),
        ({"lfs": {"sha256": "../../x", "size": 1, "pointerSize": 1}}, f"does not say what {WEIGHTS} hashes to"),
        ({"lfs": {"size": 1}}, "does not answer as a hub does"),
        ({"size": None}, f"does not say how large {WEIGHTS} is"),
        ({"size": -1}, f"does not say how large {WEIGHTS} is"),
    ],
)
def test_lists_that_no_hub_makes(listed: dict[str, Any], says: str, hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub).repos[TINY].listed[WEIGHTS] = listed
    assert says in refused(TINY, env=hub.env(tmp_path))
    assert hub.paths() == []


def test_a_commit_that_is_a_path(hub: Hub, tmp_path: Path) -> None:
    repo = with_tiny(hub).repos[TINY]
    repo.commits["../../x"] = tiny_files()
    repo.refs["main"] = "../../x"
    assert "names no commit" in refused(TINY, env=hub.env(tmp_path))


def without(*names: str, **changes: bytes) -> Callable[[], dict[str, bytes]]:
    return lambda: {name: data for name, data in {**tiny_files(), **changes}.items() if name not in names}


@pytest.mark.parametrize(
    ("files", "kind", "says"),
    [
        (without(WEIGHTS), CheckpointError, "unet has no safetensors weights"),
        (
            without(WEIGHTS, **{"unet/diffusion_pytorch_model.bin": b""}),
            CheckpointError,
            r"there is unet/diffusion_pytorch_model\.bin: a pickle can run code, only safetensors is read",
        ),
        (without("tokenizer/merges.txt"), CheckpointError, r"it has no tokenizer/merges\.txt"),
        (without("vae/config.json"), CheckpointError, r"it has no vae/config\.json"),
        (without("scheduler/scheduler_config.json"), CheckpointError, r"it has no scheduler/scheduler_config\.json"),
        (without(**{"model_index.json": b"[]"}), CheckpointError, r"model_index\.json is not a JSON object"),
        (
            without(**{"model_index.json": b'{"_class_name": "StableDiffusion3Pipeline", "vae": ["a", "b"]}'}),
            CheckpointError,
            "is of a StableDiffusion3Pipeline without unet, which cannot be drawn with",
        ),
        (lambda: {"README.md": b""}, ModelNotFoundError, r"it has no model: neither model_index\.json nor"),
        (lambda: {"a.ckpt": b""}, ModelNotFoundError, r"there is a\.ckpt: a pickle can run code"),
    ],
)
def test_repositories_without_a_model_that_is_read(
    files: Callable[[], dict[str, bytes]], kind: type[Exception], says: str
) -> None:
    content = files()
    with pytest.raises(kind, match=says):
        select(content, lambda name: json.loads(content[name]))


def test_a_variant_that_there_is_none_of() -> None:
    with pytest.raises(InvalidParamsError, match="variant: got 'fp8', allowed is one of auto, fp16, none"):
        select([], json.loads, "fp8")  # type: ignore[arg-type]


def test_a_full_disk_is_told() -> None:
    says = r"bees/tiny: the disk of .* is full; make room there, or set HF_HUB_CACHE"
    with pytest.raises(DownloadError, match=says), explained(Reference(TINY)):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), explained(Reference(TINY)):
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", Reference("a/b")),
        ("a/b@main", Reference("a/b")),
        ("a/b@refs/pr/1", Reference("a/b", "refs/pr/1")),
        ("a/b-1.0:c/d.safetensors", Reference("a/b-1.0", file="c/d.safetensors")),
        ("a/b@v1:d.safetensors", Reference("a/b", "v1", "d.safetensors")),
        *(
            (text, None)
            for text in ("a", "a/b/c", "/a/b", "a/", "a/.b", "a/b.", "a/b@", "a/b@/x", "a/b@x/../y", "a/b@x:y")
        ),
        *((text, None) for text in ("a/b:d.bin", "a/b:../d.safetensors", "a/b:/d.safetensors", "a/b:d\\e.safetensors")),
        *((text, None) for text in ("a--b/c", "a/b..c", "a/b\n", "a/b c", "é/b", "a/" + "b" * 1000)),
    ],
)
def test_references(text: str, expected: Reference | None) -> None:
    assert parse(text) == expected
    if expected is not None:
        assert parse(str(expected)) == expected


PARTS = st.lists(
    st.sampled_from(["..", ".", "", "a", "C:", "a..b", "x.safetensors", "~", "\0", "é"]) | st.text(max_size=5)
)
PATHS = st.builds(lambda parts, mark: mark.join(parts), PARTS, st.sampled_from("/\\"))


@given(PATHS)
@example("a/../../x")
def test_no_path_of_a_repository_leads_out_of_it(path: str) -> None:
    if not leads_out(path):
        assert os.path.normpath(f"/cache/here/{path}").startswith("/cache/here")
        assert ".." not in path.replace("\\", "/").split("/")


@given(PATHS, PATHS, PATHS)
@example("a/b", "..", "x.safetensors")
def test_no_reference_leads_out_of_the_cache(repo: str, revision: str, file: str) -> None:
    for text in (repo, f"{repo}@{revision}", f"{repo}@{revision}:{file}", f"a/b@{revision}:{file}", f"a/b:{file}"):
        if reference := parse(text):
            folder = cache.repository(reference.repo)
            assert folder.parent == cache.folder()
            assert len(folder.name.split("--")) == 3
            for part in (reference.revision, reference.file or "x"):
                assert os.path.normpath(folder / "refs" / part).startswith(f"{folder / 'refs'}{os.sep}")
