"""What each route answers when all is well."""

import io
import json
import re
import time

import pytest
from clients import draw, exchange, job_events, picture, submit, wait_for_status
from PIL import Image
from serving import LONG, SMALL, idle, serving, shared

import sd_rbee


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
def test_health(path: str) -> None:
    body = shared().client.get(path).json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body.pop("timestamp"))
    assert body.pop("uptime_seconds") >= 0
    assert body == {
        "status": "healthy",
        "worker_id": "sd-worker-1",
        "model_version": "pollen",
        "device": "cpu:0",
        "state": "idle",
        "vram_bytes": 0,
    }


def test_ready() -> None:
    response = shared().client.get("/ready")
    assert response.status_code == 200
    assert response.json()["ready"] is True
    assert shared().client.get("/v1/ready").json() == {"ready": True, "state": "idle", "model_loaded": True}


def test_info_says_what_may_be_asked_for() -> None:
    info = shared().client.get("/info").json()
    assert info["limits"]["max_pixels"] == 2048 * 2048
    assert info["queue"] == {"waiting": 0, "size": 4}
    assert info["size_multiple"] == 8
    assert "euler-ancestral" in info["schedulers"]
    assert (info["dtype"], info["version"]) == ("f32", sd_rbee.__version__)
    assert info["operations"] == ["image_generation", "image_transform", "image_inpaint"]


def test_metrics_count_jobs_by_their_end() -> None:
    worker = shared()

    def completed() -> float:
        text = worker.client.get("/metrics").text
        found = re.search(r'worker_requests_total\{outcome="completed"\} (\S+)', text)
        return float(found[1]) if found else 0.0

    before = completed()
    draw(worker, SMALL)
    assert completed() == before + 1
    response = worker.client.get("/metrics")
    assert all(f'outcome="{end}"' in response.text for end in ("completed", "failed", "cancelled"))
    assert "_created" not in response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in ("worker_vram_bytes", "worker_inference_duration_ms_bucket", "worker_uptime_seconds", "worker_ready 1"):
        assert name in response.text


def test_the_front_page_is_for_people_and_for_probes() -> None:
    response = shared().client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "pollen" in response.text
    assert f"{shared().url}/execute" in response.text


def test_the_reference_fetches_nothing_from_elsewhere() -> None:
    text = shared().client.get("/schema").text
    assert "POST /inpaint" in text
    assert "preview_every" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "<script" not in text


def test_the_schema_names_every_route_and_every_field() -> None:
    schema = shared().client.get("/schema/openapi.json").json()
    paths = {
        *("/execute", "/img2img", "/inpaint", "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/stream"),
        *("/health", "/v1/health", "/ready", "/v1/ready", "/info", "/metrics"),
        *("/cancel", "/shutdown", "/v1/shutdown", "/v1/admin/shutdown"),
    }
    assert set(schema["paths"]) == paths
    assert set(schema["components"]["schemas"]["ExecuteRequest"]["properties"]) >= set(SMALL)
    execute = schema["paths"]["/execute"]["post"]
    assert set(execute["responses"]["200"]["content"]) == {"text/event-stream", "application/json", "image/png"}
    assert set(execute["responses"]) >= {"200", "400", "406", "413", "415", "422", "429", "503", "507"}
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
    assert references <= set(schema["components"]["schemas"])


@pytest.mark.parametrize(
    "path",
    ["/", "/health", "/ready", "/v1/health", "/v1/ready", "/info", "/metrics", "/schema", "/schema/openapi.json"],
)
def test_probes_may_ask_for_the_head_alone(path: str) -> None:
    status, headers, body = exchange(shared(), "HEAD", path)
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


def test_the_same_picture_as_events_as_json_and_as_png() -> None:
    worker = shared()
    streamed = draw(worker, SMALL)[-1].data
    as_json = worker.client.post("/execute", json=SMALL, headers={"accept": "application/json"})
    as_png = worker.client.post("/execute", json=SMALL, headers={"accept": "image/png"})
    assert (as_json.status_code, as_png.status_code) == (200, 200)
    assert as_json.json()["image"] == streamed["image"]
    assert as_png.headers["content-type"] == "image/png"
    assert as_png.headers["x-seed"] == "7"
    assert as_png.headers["x-job-id"].startswith("job-")
    drawn = Image.open(io.BytesIO(as_png.content))
    assert drawn.tobytes() == picture(streamed["image"]).tobytes()
    expected = sd_rbee.generate("a robot", num_inference_steps=2, width=64, height=64, seed=7)
    assert drawn.tobytes() == expected.images[0].tobytes()
    assert drawn.info["parameters"] == expected.images[0].info["parameters"]


def test_what_is_missing_under_the_schema_is_an_error_as_everywhere() -> None:
    response = shared().client.get("/schema/swagger")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_a_limit_below_the_models_default_is_the_default() -> None:
    with serving("--max-steps", 2) as worker:
        assert worker.client.get("/info").json()["defaults"]["steps"] == 2
        size = {"prompt": "a robot", "width": 64, "height": 64}
        assert draw(worker, size)[-1].name == "complete"
        assert job_events(worker, submit(worker, size))[1] == "[DONE]"
        fields = worker.client.get("/schema/openapi.json").json()["components"]["schemas"]["ExecuteRequest"]
        assert fields["properties"]["steps"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 2}
        assert fields["properties"]["width"]["anyOf"][0]["multipleOf"] == 8


def test_a_waiting_jobs_eta_is_to_its_own_end() -> None:
    worker = shared()
    draw(worker, SMALL)
    jobs = [submit(worker, LONG) for _ in range(2)]
    try:
        while (first := worker.client.get(f"/v1/jobs/{jobs[0]}").json())["eta_seconds"] is None:
            time.sleep(0.05)
        second = worker.client.get(f"/v1/jobs/{jobs[1]}").json()
        assert (second["status"], second["position"]) == ("queued", 1)
        assert second["eta_seconds"] > first["eta_seconds"]
    finally:
        for job_id in jobs:
            worker.client.delete(f"/v1/jobs/{job_id}")
        idle(worker)


@pytest.mark.parametrize(
    ("accept", "type_"),
    [
        ("*/*", "text/event-stream"),
        ("", "text/event-stream"),
        ("text/*", "text/event-stream"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json;q=0.1, image/png", "image/png"),
        ("image/webp, image/*;q=0.8", "image/png"),
        ("text/html, application/json;q=0.9", "application/json"),
        ("application/json;q=0, image/png;q=0.2", "image/png"),
    ],
)
def test_accept_chooses_the_answer(accept: str, type_: str) -> None:
    headers = {"accept": accept} if accept else {}
    status, headers, _ = exchange(shared(), "POST", "/execute", json.dumps(SMALL).encode(), headers)
    assert (status, headers["content-type"].partition(";")[0]) == (200, type_)


@pytest.mark.parametrize("accept", ["image/webp", "text/html", "application/json;q=0", "x", "*/*;q=nan"])
def test_an_answer_that_nobody_can_give_is_406(accept: str) -> None:
    response = shared().client.post("/execute", json=SMALL, headers={"accept": accept})
    assert (response.status_code, response.json()["error"]["field"]) == (406, "Accept")


def test_several_pictures_have_their_own_seeds() -> None:
    result = draw(shared(), {**SMALL, "num_samples": 3})[-1].data
    assert result["seeds"] == [7, 8, 9]
    assert len(set(result["images"])) == 3
    assert result["image"] == result["images"][0]
    alone = draw(shared(), {**SMALL, "seed": 9})[-1].data
    assert picture(alone["image"]).tobytes() == picture(result["images"][2]).tobytes()


def test_what_had_no_effect_is_said() -> None:
    result = draw(shared(), {**SMALL, "guidance_scale": 1, "negative_prompt": "blue", "prompt": "word " * 100})[-1].data
    assert len(result["warnings"]) == 2
    assert any(text.startswith("negative_prompt has no effect") for text in result["warnings"])
    assert any(text.startswith("prompt has ") for text in result["warnings"])


def test_a_job_tells_its_state_all_along() -> None:
    worker = shared()
    first, second = submit(worker, LONG), submit(worker, SMALL)
    try:
        running = wait_for_status(worker, first, "running")
        assert running["position"] is None
        waiting = worker.client.get(f"/v1/jobs/{second}").json()
        assert (waiting["status"], waiting["position"]) == ("queued", 1)
        assert waiting["sse_url"] == f"/v1/jobs/{second}/stream"
    finally:
        worker.client.delete(f"/v1/jobs/{first}")
    done = wait_for_status(worker, second, "completed")
    assert (done["position"], done["eta_seconds"], done["result"]["seed"]) == (None, 0, 7)
    assert worker.client.get(f"/v1/jobs/{first}").json()["status"] == "cancelled"


def test_cancel_says_202_as_often_as_it_is_asked() -> None:
    worker = shared()
    job_id = submit(worker, LONG)
    for _ in range(3):
        response = worker.client.post("/cancel", json={"job_id": job_id})
        assert (response.status_code, response.json()) == (202, {"job_id": job_id, "status": "cancelled"})
    assert job_events(worker, job_id)[1] == "[CANCELLED]"
    done = submit(worker, SMALL)
    wait_for_status(worker, done, "completed")
    assert worker.client.post("/cancel", json={"job_id": done}).json()["status"] == "completed"
    idle(worker)


def test_a_waiting_job_is_cancelled_at_once_and_the_others_move_up() -> None:
    worker = shared()
    jobs = [submit(worker, LONG) for _ in range(3)]
    try:
        wait_for_status(worker, jobs[0], "running")
        assert worker.client.delete(f"/v1/jobs/{jobs[1]}").json()["status"] == "cancelled"
        events, marker = job_events(worker, jobs[1])
        assert ([event.name for event in events], marker) == (["queued", "error"], "[CANCELLED]")
        assert worker.client.get(f"/v1/jobs/{jobs[2]}").json()["position"] == 1
    finally:
        for job_id in jobs:
            worker.client.delete(f"/v1/jobs/{job_id}")
        idle(worker)
