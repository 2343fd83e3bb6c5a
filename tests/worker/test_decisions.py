"""The nine decisions of the worker's contract, each by its number."""

import json
import signal
import time
from pathlib import Path

import pytest
from clients import draw, exchange, job_client_lines, job_events, stream, submit, wait_for_status
from mock_hive import HEARTBEAT, QUEEN, READY, Knobs, mock_hive, nobody, spaced
from serving import LONG, PATIENCE, PROMPT_END, SMALL, WorkerProcess, failing, idle, serving, shared

from sd_rbee import models
from sd_rbee.cli.serve import serve
from sd_rbee.hive import client as hive_client
from sd_rbee.settings import WorkerSettings

PROMPT = "a marked-prompt-zebra"


def test_decision_1_every_event_has_the_spellings_of_both_dialects() -> None:
    events = draw(shared(), SMALL)
    steps = [event.data for event in events if event.name == "progress"]
    assert [(step["step"], step["total_steps"], step["percent"]) for step in steps] == [(1, 2, 50.0), (2, 2, 100.0)]
    assert all(step["type"] == "progress" and step["total"] == step["total_steps"] for step in steps)
    last = events[-1]
    assert last.name == last.data["type"] == "complete"
    assert last.data["seed"] == 7
    assert last.data["seeds"] == [7]
    assert last.data["images"] == [last.data["image"]]
    assert last.data["format"] == "png"
    assert last.data["elapsed_ms"] > 0


def test_decision_1_an_error_has_type_code_message_and_retriable() -> None:
    last = draw(failing(), {**SMALL, "prompt": "out of memory"})[-1]
    assert last.name == last.data["type"] == "error"
    assert last.data["code"] == "VRAM_OOM"
    assert last.data["retriable"] is True
    assert last.data["message"]


def test_decision_1_jobs_end_with_done_and_seed_streams_do_not() -> None:
    worker = shared()
    job_id = submit(worker, SMALL)
    lines = list(job_client_lines(worker, f"/v1/jobs/{job_id}/stream"))
    assert lines[-1] == "[DONE]"
    objects = [json.loads(line) for line in lines[:-1] if line.startswith("{")]
    assert objects[-1]["type"] == "complete"
    assert draw(worker, SMALL)[-1].name == "complete"


def test_decision_1_jobs_end_with_cancelled_or_error() -> None:
    worker = shared()
    job_id = submit(worker, LONG)
    wait_for_status(worker, job_id, "running")
    assert worker.client.delete(f"/v1/jobs/{job_id}").json() == {"job_id": job_id, "status": "cancelled"}
    assert list(job_client_lines(worker, f"/v1/jobs/{job_id}/stream"))[-1] == "[CANCELLED]"
    job_id = submit(failing(), {**SMALL, "prompt": "out of memory"})
    lines = list(job_client_lines(failing(), f"/v1/jobs/{job_id}/stream"))
    assert lines[-1].startswith("[ERROR] there is not enough memory")


def test_decision_2_defaults_are_the_models_own_and_info_shows_them() -> None:
    worker = shared()
    defaults = worker.client.get("/info").json()["defaults"]
    assert defaults == {"steps": 20, "guidance_scale": 3.5, "height": 128, "width": 128, "scheduler": "ddim"}
    events = draw(worker, {"prompt": "a robot"})
    assert [event.data["total_steps"] for event in events if event.name == "progress"] == [20] * 20
    assert len(events[-1].data["images"]) == 1


def test_decision_2_a_model_that_does_not_say_gets_the_seeds_defaults(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in models.available()["pollen"].iterdir():
        if path.name != "generation_config.json":
            (plain / path.name).symlink_to(path)
    with serving("--model-path", plain) as worker:
        defaults = worker.client.get("/info").json()["defaults"]
        assert (defaults["steps"], defaults["guidance_scale"]) == (30, 7.5)
        size = {"width": 16, "height": 16}
        seed_steps = [event for event in draw(worker, {"prompt": "a robot", **size}) if event.name == "progress"]
        assert len(seed_steps) == 30
        events, _ = job_events(worker, submit(worker, {"model": "plain", "prompt": "a robot", **size}))
        assert len([event for event in events if event.name == "progress"]) == 20


def test_decision_3_health_is_answered_before_the_model_is_there() -> None:
    with WorkerProcess() as worker:
        first = worker.client.get("/ready")
        assert worker.client.get("/health").status_code == 200
        if first.status_code == 503:
            body = first.json()
            assert (body["ready"], body["status"], body["reason"]) == (False, "loading", "model loading")
        ready = worker.ready().client.get("/ready").json()
        assert (ready["ready"], ready["status"]) == (True, "idle")


def test_decision_3_the_hive_is_called_once_the_worker_can_answer() -> None:
    with mock_hive() as hive, serving("--callback-url", hive.url, "--worker-id", "sd-worker-7") as worker:
        [call] = hive.wait(READY)
        assert call.status == 200
        assert hive.probes[0]["worker_id"] == "sd-worker-7"
        assert hive.probes[0]["state"] == "idle"
        assert call.body["url"] == worker.url


def test_decision_4_the_ready_body_is_the_superset() -> None:
    flags = ("--worker-id", "w-1", "--model-ref", "hf:stabilityai/stable-diffusion-xl-base-1.0", "--sd-version", "v1-5")
    with mock_hive() as hive, serving("--callback-url", hive.url, "--model-path", "pollen", *flags) as worker:
        [call] = hive.wait(READY)
        memory = call.body.pop("memory_bytes")
        assert memory > 40_000_000
        assert call.body == {
            "worker_id": "w-1",
            "url": worker.url,
            "uri": worker.url,
            "model_ref": "hf:stabilityai/stable-diffusion-xl-base-1.0",
            "backend": "cpu",
            "device": 0,
            "vram_bytes": 0,
            "memory_architecture": "unified",
            "worker_type": "sd-worker-rbee",
            "capabilities": ["image-gen"],
            "protocol": "sse",
            "model_version": "v1-5",
            "version": "0.1.0",
        }


def test_decision_4_a_url_with_a_path_is_taken_verbatim() -> None:
    path = "/v2/internal/workers/ready?zone=a"
    with mock_hive() as hive, serving("--callback-url", hive.url + path):
        assert hive.wait(path)[0].method == "POST"
        assert not hive.of(READY)


def test_decision_4_tries_come_at_0_1_2_4_and_8_seconds() -> None:
    assert hive_client.READY_DELAYS == (0, 1, 1, 2, 4)
    with mock_hive(Knobs(statuses=[503, 429, 500])) as hive, serving("--callback-url", hive.url) as worker:
        calls = hive.wait(READY, 4)
        assert spaced(calls, 1, 1, 2)
        assert [call.status for call in calls] == [503, 429, 500, 200]
        worker.wait_for("registered with the hive")


def test_decision_4_a_refusal_is_not_retried_and_the_worker_serves_on() -> None:
    with mock_hive(Knobs(statuses=[422])) as hive, serving("--callback-url", hive.url) as worker:
        worker.wait_for("ERROR sd_rbee.hive: the hive has not taken the ready call")
        assert len(hive.of(READY)) == 1
        assert draw(worker, SMALL)[-1].name == "complete"


def test_decision_4_require_callback_ends_the_worker() -> None:
    with (
        mock_hive(Knobs(statuses=[400])) as hive,
        WorkerProcess("--callback-url", hive.url, "--require-callback") as worker,
    ):
        assert worker.end()[0] == 6
        assert worker.lines[-1] == "sd-rbee: the hive has not taken the ready call"


def test_decision_4_no_redirect_is_followed() -> None:
    with mock_hive() as elsewhere, mock_hive(Knobs(redirect_to=elsewhere.url + READY)) as hive:
        with serving("--callback-url", hive.url):
            assert [call.status for call in hive.wait(READY, 2)] == [307, 200]
        assert not elsewhere.calls


def test_decision_5_heartbeats_follow_the_ready_call_and_a_404_registers_again() -> None:
    knobs = Knobs(heartbeat_statuses=[200, 404])
    with mock_hive(knobs) as hive, serving("--callback-url", hive.url, "--heartbeat-seconds", 1):
        calls = hive.wait(HEARTBEAT, 4)
        assert [call.path for call in hive.calls[:5]] == [READY, HEARTBEAT, HEARTBEAT, READY, HEARTBEAT]
        assert all(call.status == 200 for call in calls[2:])
        assert spaced(calls, 1, 1, 1)


def test_decision_5_heartbeats_come_every_30_seconds_unless_told_otherwise() -> None:
    with mock_hive() as hive, serving("--callback-url", hive.url) as worker:
        hive.wait(HEARTBEAT)
        draw(worker, SMALL)
        assert len(hive.of(HEARTBEAT)) == 1
        assert not hive.of(QUEEN)
    assert WorkerSettings("w", "pollen", "pollen", "pollen").hive.heartbeat_seconds == 30
    [option] = [option for option in serve.params if option.name == "heartbeat_seconds"]
    assert option.default == 30


def test_decision_5_a_queen_hears_heartbeats_only_if_named() -> None:
    with mock_hive() as queen, serving("--queen-url", queen.url, "--heartbeat-seconds", 0.3) as worker:
        calls = queen.wait(QUEEN, len(queen.of(QUEEN)) + 2)
        assert all(call.status == 200 for call in calls)
        assert {call.path for call in queen.calls} == {QUEEN}
        body = calls[-1].body["worker"]
        assert (body["port"], body["device"], body["status"]) == (worker.address[1], "cpu:0", "ready")
        with stream(worker, LONG) as events:
            next(event for event in events if event.name == "progress")
            count = len(queen.calls)
            assert queen.wait(QUEEN, count + 2)[-1].body["worker"]["status"] == "busy"


def test_decision_5_a_queen_hears_of_the_start_and_of_the_end_at_once() -> None:
    script = str(Path(__file__).with_name("reluctant_worker.py"))
    with mock_hive() as queen, WorkerProcess("--queen-url", queen.url, script=script) as worker:
        calls = queen.wait(QUEEN, 2)
        draw(worker, SMALL)
        worker.client.post("/shutdown")
        assert worker.end()[0] == 0
        calls = queen.wait(QUEEN, 3)
        assert [call.body["worker"]["status"] for call in calls] == ["starting", "ready", "stopping"]
        assert {call.body["worker"]["port"] for call in calls} == {worker.address[1]}


def test_decision_5_a_queen_that_does_not_answer_does_not_hold_up_the_end() -> None:
    with mock_hive(Knobs(delay=4, delayed=9)) as queen, serving("--queen-url", queen.url) as worker:
        code, seconds = worker.stop()
        assert (code, seconds < PROMPT_END) == (0, True)


def test_decision_6_loopback_is_the_default_and_the_rest_asks_for_a_token() -> None:
    with WorkerProcess("--host", "0.0.0.0") as worker:
        assert worker.end()[0] == 2
        assert "--host: got 0.0.0.0, allowed is 127.0.0.1 without a token" in worker.lines[-1]
    with serving("--host", "0.0.0.0", "--insecure") as worker:
        assert worker.url.startswith("http://127.0.0.1:")
    assert shared().url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("name", ["SD_RBEE_API_TOKEN", "LLORCH_API_TOKEN"])
def test_decision_6_the_token_is_asked_for_and_sent(name: str) -> None:
    with (
        mock_hive(Knobs(token="s3cret")) as hive,
        WorkerProcess("--callback-url", hive.url, "--host", "0.0.0.0", env={name: "s3cret"}) as worker,
    ):
        assert hive.wait(READY)[0].headers["authorization"] == "Bearer s3cret"
        assert hive.wait(HEARTBEAT)[0].status == 200
        for path in ("/", "/health", "/v1/health", "/ready", "/v1/ready"):
            assert exchange(worker, "GET", path)[0] == 200
        for path in ("/info", "/metrics", "/schema", "/schema/openapi.json", "/v1/jobs/x", "/no/such/route"):
            status, headers, body = exchange(worker, "GET", path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert json.loads(body)["error"]["code"] == "MISSING_API_KEY"
        for path in ("/execute", "/v1/jobs", "/cancel", "/shutdown", "/v1/shutdown", "/v1/admin/shutdown"):
            assert exchange(worker, "POST", path)[0] == 401
        for wrong in (
            "Bearer s3cre",
            "Bearer s3cret2",
            "Bearer \xff",
            "Bearer " + "x" * 9000,
            "bearer s3cret",
            "s3cret",
        ):
            assert exchange(worker, "GET", "/info", headers={"authorization": wrong})[0] == 401
        assert exchange(worker, "GET", "/info", headers={"authorization": "Bearer s3cret"})[0] == 200
        assert exchange(worker, "OPTIONS", "/execute")[0] == 204
        assert "s3cre" not in "\n".join(worker.lines)


def test_decision_7_a_full_queue_answers_429_with_a_measured_retry_after() -> None:
    worker = shared()
    jobs = [submit(worker, LONG)]
    wait_for_status(worker, jobs[0], "running")
    jobs += [submit(worker, LONG) for _ in range(4)]
    try:
        response = worker.client.post("/execute", json=SMALL)
        assert response.status_code == 429
        assert response.json()["error"]["code"] == "QUEUE_FULL"
        assert int(response.headers["retry-after"]) >= 1
        positions = [worker.client.get(f"/v1/jobs/{job_id}").json()["position"] for job_id in jobs]
        assert positions == [None, 1, 2, 3, 4]
        deadline = time.monotonic() + PATIENCE
        while (first := worker.client.get(f"/v1/jobs/{jobs[0]}").json()).get("progress", {}).get("phase") != "denoise":
            assert time.monotonic() < deadline, first
            time.sleep(0.05)
        again, eta = worker.client.post("/execute", json=SMALL), first["eta_seconds"]
        assert eta > 5
        assert eta / 3 < int(again.headers["retry-after"]) < 3 * eta
    finally:
        for job_id in jobs:
            worker.client.delete(f"/v1/jobs/{job_id}")
        idle(worker)


def test_decision_7_a_client_that_leaves_cancels_its_job_within_one_step() -> None:
    worker = shared()
    with stream(worker, LONG) as events:
        job_id = next(events).data["job_id"]
        next(event for event in events if event.name == "progress" and event.data["step"] == 2)
    job = wait_for_status(worker, job_id, "cancelled")
    # Steps that go by while the departure is on its way are the machine's; the job has more than a thousand.
    assert job["progress"]["step"] <= 6


def test_decision_7_a_jobs_reader_may_leave_and_the_result_is_kept() -> None:
    worker = shared()
    job_id = submit(worker, {**SMALL, "steps": 30, "width": 128, "height": 128})
    with worker.client.stream("GET", f"/v1/jobs/{job_id}/stream") as response:
        next(response.iter_lines())
    job = wait_for_status(worker, job_id, "completed")
    assert job["result"]["seed"] == 7
    assert job_events(worker, job_id)[0][-1].data == job["result"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_decision_8_a_signal_ends_streams_with_an_event_and_the_process_with_0_within_2_s(
    number: signal.Signals,
) -> None:
    with serving() as worker, stream(worker, LONG) as events:
        next(event for event in events if event.name == "progress")
        waiting = submit(worker, SMALL)
        code, seconds = worker.stop(number)
        assert (code, seconds < PROMPT_END) == (0, True)
        rest = list(events)
        assert (rest[-1].name, rest[-1].data["code"]) == ("error", "CANCELLED")
        assert waiting


def test_decision_9_logs_go_to_stderr_and_a_file_and_hold_no_prompt_picture_or_token(tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    with (
        mock_hive(Knobs(token="t0ken-mark")) as hive,
        WorkerProcess(
            *("--log-file", file, "--callback-url", hive.url, "--worker-id", "w-9"),
            env={"RUST_LOG": "trace", "LLORCH_LOG_FORMAT": "json", "SD_RBEE_API_TOKEN": "t0ken-mark"},
        ) as worker,
    ):
        headers = {"authorization": "Bearer t0ken-mark"}
        worker.client.headers = headers
        worker.ready()
        hive.wait(HEARTBEAT)
        body = {**SMALL, "prompt": PROMPT, "negative_prompt": "marked-negative-zebra"}
        done = worker.client.post("/execute", json=body, headers={"accept": "application/json"}).json()
        failed = worker.client.post("/execute", json={**body, "width": 7}).json()
        assert failed["error"]["field"] == "width"
        worker.client.post("/img2img", json={**body, "image": "bWFya2VkLWltYWdl", "width": 1})
        worker.client.get("/info", headers={"authorization": "Bearer wr0ng-mark"})
        worker.stop()
        lines = file.read_text().splitlines()
        assert lines == [line for line in worker.lines if line.startswith("{")]
        records = [json.loads(line) for line in lines]
        assert all(record["worker_id"] == "w-9" for record in records)
        assert {record.get("event") for record in records} >= {"ready", "queued", "started", "completed", "stopping"}
        assert done["job_id"] in {record.get("job_id") for record in records}
        written = "\n".join(worker.lines)
        for secret in ("zebra", "t0ken", "wr0ng", "bWFya2Vk", done["image"][:40]):
            assert secret not in written


def test_decision_9_people_get_text_at_the_level_that_was_asked_for() -> None:
    with serving(env={"RUST_LOG": "hyper=trace,info"}) as worker:
        assert " INFO sd_rbee.server: ready" in worker.wait_for("ready")
    with serving("--log-level", "warn", env={"RUST_LOG": "trace"}) as worker:
        worker.stop()
        assert len(worker.lines) == 1


def test_the_seeds_callback_url_with_nobody_there_does_not_keep_it_from_serving() -> None:
    with serving("--callback-url", nobody()) as worker:
        assert draw(worker, SMALL)[-1].name == "complete"
        worker.wait_for("ready call 1 of 5 failed: no answer")
