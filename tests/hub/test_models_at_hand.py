"""What is at hand: the list of models, `info`, and the worker, which downloads nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hub_repositories import MODEL, NEEDED, VAE, model_files, vae_files, with_model, with_tiny
from mock_hub import Hub
from sd_rbee import ModelNotFoundError, models
from sd_rbee.cli.serve import serve
from sd_rbee.cli.worker_settings import Flags, worker_settings
from sd_rbee.settings import WorkerSettings
from support import POLLEN, cli


@pytest.fixture
def pulled(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """The environment of a cache with a model under its alias, one without, a component and a single file."""
    hub.add(models.HUB_ALIASES["v1-5"], model_files())
    with_tiny(hub)
    hub.add(VAE, vae_files(tmp_path))
    hub.add("bees/one", {"wax.safetensors": b"wax"})
    env = hub.env(tmp_path / "home")
    for name in ("v1-5", "bees/tiny", "taesd", "bees/one"):
        assert cli("pull", name, "-q", env=env).returncode == 0
    hub.calls.clear()
    return env


def settings(*flags: str) -> WorkerSettings:
    return worker_settings(Flags(**serve.make_context("serve", list(flags)).params), ("auto", "cpu"))


def test_the_list_of_models(pulled: dict[str, str], hub: Hub) -> None:
    done = cli("models", "--json", env=pulled)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    rows = [(row["alias"], row["id"], row["kind"], row["files"]) for row in told["models"]]
    assert rows == [
        ("pollen", None, "StableDiffusionPipeline", len([path for path in POLLEN.rglob("*") if path.is_file()])),
        (None, "bees/one", None, 1),
        (None, "bees/tiny", "StableDiffusionPipeline", 10),
        ("taesd", VAE, "AutoencoderTiny", 2),
        ("v1-5", models.HUB_ALIASES["v1-5"], "StableDiffusionPipeline", len(NEEDED)),
    ]
    for row in told["models"][1:]:
        assert row["commit"] == hub.repos[row["id"]].refs["main"]
        assert row["damages"] == {}
        assert Path(row["path"]).exists()
    assert told["models"][4]["size"] == sum(len(model_files()[name]) for name in NEEDED)
    others = {alias: repo for alias, repo in models.HUB_ALIASES.items() if alias not in ("v1-5", "taesd")}
    assert told["to_pull"] == others

    shown = cli("models", env=pulled).stdout
    for alias, repo in models.HUB_ALIASES.items():
        assert alias in shown
        assert repo in shown
    commit = hub.repos[VAE].refs["main"]
    assert [line for line in shown.splitlines() if commit[:12] in line and "AutoencoderTiny" in line]
    assert "one file" in shown
    assert shown.index("v1-5") < shown.index("to pull:") < shown.index("v2-1")
    verified = cli("models", "--verify", env=pulled)
    assert verified.returncode == 0
    assert "check unet/diffusion_pytorch_model.fp16.safetensors" in verified.stderr
    assert hub.calls == []


def test_info_lists_what_was_pulled(pulled: dict[str, str]) -> None:
    told = json.loads(cli("info", "--json", env=pulled).stdout)
    assert told["models"] == {"pollen": str(POLLEN)}
    assert sorted(told["pulled_models"]) == ["bees/one", "bees/tiny", VAE, models.HUB_ALIASES["v1-5"]]
    assert told["pulled_models"]["bees/one"].endswith("/wax.safetensors")
    assert f"{VAE} (" in cli("info", env=pulled).stdout
    assert json.loads(cli("info", "--json").stdout)["pulled_models"] == {}


def test_the_worker_takes_what_was_pulled(pulled: dict[str, str], hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in pulled.items():
        monkeypatch.setenv(name, value)
    by_version = settings("--sd-version", "v1-5", "--vae", "taesd", "--preview-vae", VAE)
    assert (by_version.model, by_version.model_version, by_version.model_ref) == ("v1-5", "v1-5", "v1-5")
    assert by_version.vae == by_version.preview_vae
    assert f"{by_version.vae}".endswith(hub.repos[VAE].refs["main"])
    by_id = settings("--model", models.HUB_ALIASES["v1-5"])
    assert by_id.model_ref == "stable-diffusion-v1-5-stable-diffusion-v1-5"
    for flags in (("--model", MODEL), ("--vae", "taesdxl"), ("--preview-vae", "bees/none")):
        with pytest.raises(ModelNotFoundError, match=r"is not at hand.*`sd-rbee pull .*` does"):
            settings(*flags)
    assert hub.calls == []


def test_a_worker_draws_with_a_pulled_model(pulled: dict[str, str], hub: Hub) -> None:
    command = [sys.executable, "-m", "sd_rbee", "serve", "--sd-version", "v1-5", "--port", "0"]
    with subprocess.Popen(command, env={**os.environ, **pulled}, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        try:
            url = next(line.split()[-1] for line in worker.stderr if line.startswith("sd-rbee: serving v1-5 on "))
            body = {"prompt": "a robot", "steps": 1, "width": 24, "height": 16}
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                while client.get("/ready").status_code != 200:
                    assert worker.poll() is None
                answer = client.post("/execute", json=body, headers={"accept": "image/png"})
            assert answer.status_code == 200
            assert answer.content.startswith(b"\x89PNG")
        finally:
            worker.terminate()
    assert hub.calls == []


def test_a_worker_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    env = with_model(hub).env(tmp_path)
    done = cli("serve", "--model", MODEL, "--port", "0", env=env)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"sd-rbee: {MODEL} is not at hand: neither a path nor downloaded, which `sd-rbee pull {MODEL}` does\n"
    )
    assert hub.calls == []
    assert list(tmp_path.iterdir()) == []
