"""How a worker ends that cannot start: its exit code, and one line that says why."""

import json
import socket
import subprocess
import time
from pathlib import Path

import pytest
from serving import PATIENCE, WorkerProcess, argv, environment

# Half a second on an idle machine, many times that on a busy one; the tries to call a hive would take longer.
AT_ONCE = 15.0


def ended(*flags: object, env: dict[str, str] | None = None, script: str = "") -> tuple[int, list[str], float]:
    """Exit code, lines and seconds of a worker that cannot start."""
    begun = time.monotonic()
    done = subprocess.run(
        argv(*flags, script=script), env=environment(env), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert not done.stdout
    return done.returncode, done.stderr.splitlines(), time.monotonic() - begun


def test_threads_that_are_no_number_are_said_and_2_at_once() -> None:
    code, lines, seconds = ended("--port", 0, env={"SD_RBEE_THREADS": "none"})
    assert (code, lines[-1]) == (2, "sd-rbee: SD_RBEE_THREADS: got none, allowed is 1 to 1024")
    assert seconds < AT_ONCE


def test_a_taken_port_is_one_line_and_5_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines, seconds = ended("--port", port)
    assert (code, len(lines)) == (5, 1)
    assert lines[0].startswith(f"sd-rbee: 127.0.0.1 port {port}: ")
    assert seconds < AT_ONCE


def test_a_missing_model_is_one_line_and_3_at_once() -> None:
    code, lines, seconds = ended("--port", 0, "--model-path", "/no/such/model")
    assert (code, len(lines)) == (3, 1)
    assert "/no/such/model" in lines[0]
    assert seconds < AT_ONCE


def test_a_version_whose_weights_are_nowhere_is_one_line_and_3() -> None:
    code, lines, _ = ended(
        "--worker-id", "w", "--sd-version", "xl", "--port", 0, "--callback-url", "http://localhost:9999"
    )
    said = (
        "sd-rbee: xl is not at hand: neither a path nor downloaded, which `sd-rbee pull "
        "stabilityai/stable-diffusion-xl-base-1.0` does; or say where it is with --model-path"
    )
    assert (code, lines) == (3, [said])
    code, lines, _ = ended("--sd-version", "3-medium", "--port", 0)
    assert (code, lines) == (3, ["sd-rbee: 3-medium is not at hand: say where it is with --model-path"])


def test_a_missing_device_is_one_line_and_4_at_once() -> None:
    code, lines, seconds = ended("--port", 0, "--cuda-device", 7)
    assert (code, len(lines)) == (4, 1)
    assert lines[0].startswith("sd-rbee: cuda:7 is not there; there are ")
    assert seconds < AT_ONCE


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("cpu", ["--cuda-device", 0]),
        ("cpu", ["--metal-device", 0]),
        ("cpu", ["--backend", "cuda"]),
        ("cuda", ["--backend", "cpu"]),
        ("cuda", ["--metal-device", 0]),
        ("cuda", ["--cuda-device", 99]),
        ("metal", ["--cuda-device", 0]),
        ("metal", ["--metal-device", 99]),
        ("any_device", ["--rocm-device", 0]),
        ("any_device", ["--use-flash-attn"]),
    ],
)
def test_a_script_refuses_a_device_that_it_is_not_for(script: str, flags: list[object]) -> None:
    name = "sd-worker-rbee" if script == "any_device" else f"sd-worker-{script}"
    code, lines, _ = ended("--port", 0, *flags, script=script)
    assert (code, len(lines)) == (4, 1)
    assert lines[0].startswith(f"{name}: ")


def test_a_broken_checkpoint_ends_the_worker_with_one_line_and_3(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with WorkerProcess("--model-path", tmp_path) as worker:
        code, _ = worker.end()
    assert code == 3
    assert worker.lines[0].startswith("sd-rbee: serving ")
    assert [line for line in worker.lines[1:] if " INFO " not in line] == [worker.lines[-1]]
    assert worker.lines[-1].startswith("sd-rbee: ")


def test_an_unwritable_log_file_is_said() -> None:
    code, lines, _ = ended("--port", 0, "--log-file", "/no/such/folder/log")
    assert (code, len(lines)) == (1, 1)
    assert "/no/such/folder" in lines[0]


def test_f16_where_it_cannot_be_is_said_by_the_flags_name() -> None:
    with WorkerProcess("--use-f16", "--backend", "cpu") as worker:
        assert worker.end()[0] == 2
        assert worker.lines[-1].startswith("sd-rbee: --use-f16: got true, allowed is false on the CPU")


@pytest.mark.parametrize("taken", [True, False])
def test_the_failure_that_ends_a_worker_is_in_its_log_file_and_once_on_stderr(tmp_path: Path, taken: bool) -> None:
    file, model = tmp_path / "worker.log", tmp_path / "model"
    model.mkdir()
    (model / "model_index.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        flags = ["--port", other.getsockname()[1]] if taken else ["--port", 0, "--model-path", model]
        code, lines, _ = ended(*flags, "--log-file", file, env={"LLORCH_LOG_FORMAT": "json"})
    assert code == (5 if taken else 3)
    record = json.loads(file.read_text().splitlines()[-1])
    assert (record["level"], record["event"]) == ("error", "failed")
    assert lines[-1] == f"sd-rbee: {record['message']}"
    assert sum(record["message"] in line for line in lines) == 1


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--port", "x"], 2, "Invalid value for '--port'"),
        (["--unknown"], 2, "No such option"),
        (["--log-format", "xml"], 2, "Invalid value for '--log-format'"),
        (["--require-callback"], 2, "--require-callback: got "),
        (["--model-path", "/no/such/model"], 3, "no model "),
        (["--cuda-device", 7], 4, "cuda:7 is not there"),
    ],
)
def test_a_command_line_that_means_nothing_is_in_the_log_file_too(
    tmp_path: Path, flags: list[object], code: int, said: str
) -> None:
    file = tmp_path / "worker.log"
    given = [*flags, "--log-file", file, "--worker-id", "w-7"]
    found, lines, _ = ended(*given, *([] if "--port" in flags else ["--port", 0]), env={"LLORCH_LOG_FORMAT": "json"})
    assert found == code
    [line] = file.read_text().splitlines()
    assert said in line
    assert sum(said in line for line in lines) == 1
    if "--log-format" not in flags:
        record = json.loads(line)
        assert (record["worker_id"], record["level"], record["event"]) == ("w-7", "error", "failed")
        assert lines[-1].endswith(record["message"])
