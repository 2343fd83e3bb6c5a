"""What a hive and a person may say when they start a worker."""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from clients import draw
from mock_hive import READY, mock_hive, nobody
from serving import PATIENCE, SMALL, TWINS, argv, environment, serving

from sd_rbee.backend import native
from sd_rbee.cli.serve import serve
from sd_rbee.cli.worker_settings import VERSIONS, Flags, worker_settings
from sd_rbee.errors import DeviceError, InvalidParamsError
from sd_rbee.settings import Limits, WorkerSettings

ANY = ("auto", "cpu", "cuda", "metal")


@pytest.fixture(autouse=True)
def _no_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TWINS:
        monkeypatch.delenv(name, raising=False)


def settings(*flags: object, backends: tuple[str, ...] = ANY) -> WorkerSettings:
    """What a worker makes of its flags and its environment."""
    context = serve.make_context("serve", list(map(str, flags)))
    return worker_settings(Flags(**context.params), backends)


def test_without_flags_the_embedded_model_is_served_on_loopback() -> None:
    plain = settings()
    assert (plain.model, plain.host, plain.port, plain.token) == ("pollen", "127.0.0.1", 8081, None)
    assert (plain.worker_id, plain.device, plain.dtype, plain.model_version) == (
        "sd-worker-8081",
        "auto",
        "auto",
        "pollen",
    )
    assert plain.limits == Limits()
    assert plain.hive.callback_url is None


def test_the_seeds_flags() -> None:
    told = settings(
        *(
            "--worker-id",
            "sd-worker-1",
            "--sd-version",
            "v1-5",
            "--port",
            8085,
            "--callback-url",
            "http://localhost:9999",
        ),
        *("--model-path", "pollen"),
    )
    assert (told.worker_id, told.model_version, told.port, told.dtype) == ("sd-worker-1", "v1-5", 8085, "auto")
    assert (told.hive.callback_url, told.model) == ("http://localhost:9999", "pollen")


def test_environment_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "WORKER_ID": "w-2",
        "SD_VERSION": "v2-1",
        "PORT": "8090",
        "CALLBACK_URL": "http://hive:1",
        "MODEL_PATH": "pollen",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    told = settings()
    assert (told.worker_id, told.model_version, told.port, told.dtype) == ("w-2", "v2-1", 8090, "auto")
    assert (told.hive.callback_url, told.model) == ("http://hive:1", "pollen")
    assert settings("--port", 8091, "--worker-id", "w-3").worker_id == "w-3"
    for name in ("CUDA_DEVICE", "METAL_DEVICE", "ROCM_DEVICE"):
        monkeypatch.setenv(name, "0")
        with pytest.raises(DeviceError):
            settings(backends=("cpu",))
        monkeypatch.delenv(name)
    monkeypatch.setenv("USE_F16", "true")
    with pytest.raises(InvalidParamsError, match="use_f16"):
        settings(backends=("cpu",))
    monkeypatch.delenv("USE_F16")
    monkeypatch.setenv("USE_FLASH_ATTN", "1")
    with pytest.raises(DeviceError, match="flash attention"):
        settings()


@pytest.mark.parametrize(
    "flags",
    [
        [
            "--worker-id",
            "w",
            "--model",
            "pollen",
            "--gpu-device",
            "0",
            "--port",
            "8081",
            "--callback-url",
            "http://h/x",
        ],
        [
            *("--worker-id", "w", "--model", "pollen", "--model-ref", "hf:a/b", "--backend", "cpu", "--device", "0"),
            *("--port", "8081", "--callback-url", "http://127.0.0.1:9200/v1/workers/ready"),
        ],
        [
            *("--worker-id", "w", "--model", "pollen", "--model-ref", "hf:a/b", "--backend", "cpu", "--device", "0"),
            *("--port", "8081", "--hive-url", "http://localhost:7833", "--local-mode"),
        ],
        [
            "--worker-id",
            "w",
            "--sd-version",
            "v1-5",
            "--port",
            "8081",
            "--callback-url",
            "http://h",
            "--model-path",
            "pollen",
        ],
        [
            "--worker-id",
            "w",
            "--model",
            "pollen",
            "--device",
            "0",
            "--port",
            "8080",
            "--queen-url",
            "http://localhost:7833",
        ],
    ],
    ids=["S0", "G2", "G3", "seed", "G5"],
)
def test_the_words_of_every_generation_are_understood(flags: Sequence[str]) -> None:
    told = settings(*flags)
    assert (told.worker_id, told.model) == ("w", "pollen")
    assert told.device in ("auto", "cpu")
    assert (told.hive.callback_url or told.hive.queen_url or "").startswith("http://")


def test_f16_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags in ((), ("--backend", "cpu")):
        monkeypatch.setattr(native, "devices", lambda: ["cpu"])
        with pytest.raises(InvalidParamsError, match="use_f16: got true, allowed is false on the CPU"):
            settings("--use-f16", *flags)
    monkeypatch.setattr(native, "devices", lambda: ["cpu", "cuda:0"])
    assert settings("--use-f16").dtype == "f16"
    assert settings("--use-f16", "--cuda-device", 0).dtype == "f16"


def test_threads() -> None:
    assert settings().num_threads is None
    assert settings("--threads", 3).num_threads == 3
    for given in ("0", "1025", "two"):
        with pytest.raises(click.BadParameter) as caught:
            settings("--threads", given)
        assert caught.value.param is not None
        assert caught.value.param.name == "num_threads"


def test_limits() -> None:
    flags = ("--queue-size", 2, "--max-pixels", 4096, "--max-steps", 5, "--max-batch", 3, "--max-body-mb", 1)
    assert settings(*flags).limits == Limits(
        max_pixels=4096, max_steps=5, max_batch=3, max_body_bytes=1 << 20, queue_size=2
    )


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (("--worker-id", "a b"), "worker_id"),
        (("--worker-id", "x" * 257), "worker_id"),
        (("--model-ref", "hf:../x"), "model_ref"),
        (("--callback-url", "ftp://hive"), "callback_url"),
        (("--callback-url", "hive:9000"), "callback_url"),
        (("--callback-url", "http://[::1"), "callback_url"),
        (("--queen-url", "http://:80"), "queen_url"),
        (("--allow-origin", "null"), "allow_origins"),
        (("--allow-origin", "*"), "allow_origins"),
        (("--backend", "metal", "--cuda-device", 0), "backend"),
        (("--metal-device", 0, "--cuda-device", 0), "metal_device"),
        (("--device", 1), "device"),
        (("--host", "::"), "host"),
        (("--allow-host", "*"), "allow_hosts"),
        (("--allow-host", "worker.example:80"), "allow_hosts"),
        (("--require-callback",), "require_callback"),
        (("--sd-version", "xl", "--model-path", "pollen"), "sd_version"),
        (("--sd-version", "3-medium", "--model-path", "pollen"), "sd_version"),
    ],
)
def test_a_flag_that_means_nothing_is_named(flags: tuple[object, ...], field: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        settings(*flags)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "flags",
    [
        ("--port", 65536),
        ("--port", "x"),
        ("--queue-size", 0),
        ("--max-steps", 0),
        ("--max-pixels", -1),
        ("--max-batch", 129),
        ("--sd-version", "v9"),
        ("--log-format", "xml"),
        ("--log-level", "loud"),
        ("--unknown",),
    ],
)
def test_a_flag_out_of_range_is_a_usage_error(flags: tuple[object, ...]) -> None:
    with pytest.raises(click.UsageError):
        settings(*flags)


def test_loopback_is_more_than_one_address() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1"):
        assert settings("--host", host).host == host


def test_local_mode_needs_no_token_and_leaves_no_door_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SD_RBEE_API_TOKEN", "x")
    told = settings("--local-mode", "--host", "0.0.0.0")
    assert (told.host, told.token) == ("127.0.0.1", None)


def test_our_token_wins_over_the_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLORCH_API_TOKEN", "theirs")
    assert settings().token == "theirs"
    monkeypatch.setenv("SD_RBEE_API_TOKEN", " ours ")
    assert settings().token == "ours"
    monkeypatch.setenv("SD_RBEE_API_TOKEN", "o\tu")
    with pytest.raises(InvalidParamsError) as caught:
        settings()
    assert "o\tu" not in str(caught.value)


@pytest.mark.parametrize("script", ["", "any_device", "cpu", "cuda", "metal"])
def test_build_info_alone_says_release(script: str) -> None:
    done = subprocess.run(
        argv("--build-info", script=script),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "release\n", "")


def test_the_seeds_example_serves_with_nobody_at_its_callback_url() -> None:
    flags = ("--worker-id", "sd-worker-1", "--sd-version", "v1-5", "--callback-url", nobody(), "--model-path", "pollen")
    with serving(*flags, script="cpu") as worker:
        health = worker.client.get("/health").json()
        assert (health["worker_id"], health["model_version"], health["device"]) == ("sd-worker-1", "v1-5", "cpu:0")
        assert draw(worker, SMALL)[-1].name == "complete"
        command = Path(f"/proc/{worker.process.pid}/cmdline")
        if command.exists():
            assert b"--model-path\0pollen" in command.read_bytes()


def test_twins_alone_start_a_worker() -> None:
    with mock_hive() as hive:
        env = {
            "WORKER_ID": "w-env",
            "PORT": "0",
            "CALLBACK_URL": hive.url,
            "SD_VERSION": "v1-5",
            "MODEL_PATH": "pollen",
        }
        with serving(env=env):
            body = hive.wait(READY)[0].body
            assert (body["worker_id"], body["model_version"]) == ("w-env", "v1-5")


def test_a_version_is_the_operators_word_where_the_model_does_not_contradict_it(tmp_path: Path) -> None:
    def versions_of(index: str) -> set[str]:
        (tmp_path / "model_index.json").write_text(index)
        taken = set()
        for version in VERSIONS:
            with contextlib.suppress(InvalidParamsError):
                taken.add(settings("--sd-version", version, "--model-path", tmp_path).model_version)
        return taken

    assert versions_of('{"_class_name": "StableDiffusionPipeline"}') == {"v1-5", "v2-1", "turbo"}
    assert versions_of('{"_class_name": "StableDiffusionXLPipeline"}') == {"xl", "turbo"}
    assert versions_of('{"_class_name": "StableDiffusion3Pipeline"}') == set(VERSIONS[-4:])
    # What cannot be loaded is told when it is loaded.
    for index in ('{"_class_name": "OtherPipeline"}', "[]", "{", "[" * 100_000, '{"_class_name": 1}'):
        assert versions_of(index) == set(VERSIONS) - {"pollen"}
    assert settings("--sd-version", "pollen").model_version == "pollen"
