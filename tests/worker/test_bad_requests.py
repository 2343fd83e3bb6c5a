"""Malformed everything: each is told what is wrong, in one shape, and the worker lives."""

import base64
import contextlib
import io
import json
import re
import struct
import zlib
from typing import Any

import httpx
import pytest
from clients import draw, encoded, exchange, submit, wait_for_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import SMALL, failing, shared

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
JOB = {"operation": "image_generation", "hive_id": "h", "model": "pollen", **SMALL}


def refused(response: httpx.Response, status: int, code: str, field: str | None = None) -> str:
    """The message of an error, once its shape is found right."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) - {"field"} == {"code", "message", "retriable", "correlation_id"}
    assert (error["code"], error.get("field")) == (code, field)
    assert error["correlation_id"] == response.headers["x-correlation-id"]
    assert UUID.fullmatch(error["correlation_id"])
    no_internals(response.text)
    return str(error["message"])


def no_internals(text: str) -> None:
    for trace in ("Traceback", 'File "', "object at 0x", "/usr", "/home", "site-packages", ".py", "sd_rbee."):
        assert trace not in text


@pytest.mark.parametrize("path", ["/execute", "/img2img", "/inpaint", "/v1/jobs", "/cancel"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe{}", b'{"prompt": "\xff"}', b"[" * 100_000, b"\0", b'{"prompt":NaN}']
)
def test_what_is_no_json_is_400(path: str, body: bytes) -> None:
    response = shared().client.post(path, content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) in [(400, "INVALID_JSON"), (422, "INVALID_REQUEST")]
    no_internals(response.text)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"true"])
def test_json_of_another_kind_is_422(body: bytes) -> None:
    response = shared().client.post("/execute", content=body, headers={"content-type": "application/json"})
    refused(response, 422, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"promt": "x"}, "promt"),
        ({"steps": "30"}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 0}, "steps"),
        ({"steps": -1}, "steps"),
        ({"steps": 151}, "steps"),
        ({"steps": 10**30}, "steps"),
        ({"width": 0}, "width"),
        ({"width": 65}, "width"),
        ({"width": 1_000_000}, "width"),
        ({"height": 4096, "width": 2048}, "height"),
        ({"height": 2048, "width": 4096}, "width"),
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": 9}, "num_samples"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"seed": "7"}, "seed"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"guidance_scale": 1e300}, "guidance_scale"),
        ({"guidance_scale": []}, "guidance_scale"),
        ({"scheduler": "nope"}, "scheduler"),
        ({"eta": 2}, "eta"),
        ({"timestep_spacing": "odd"}, "timestep_spacing"),
        ({"use_karras_sigmas": 1}, "use_karras_sigmas"),
        ({"guidance_start": 1}, "guidance_start"),
        ({"guidance_end": 0}, "guidance_end"),
        ({"deepcache_interval": 0}, "deepcache_interval"),
        ({"deepcache_branch": 6}, "deepcache_branch"),
        ({"preview_every": -1}, "preview_every"),
        ({"preview": "full"}, "preview"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"negative_prompt": 3}, "negative_prompt"),
    ],
)
@pytest.mark.parametrize("path", ["/execute", "/v1/jobs"])
def test_a_bad_field_is_named(path: str, change: dict[str, Any], field: str) -> None:
    body = {**(JOB if path == "/v1/jobs" else SMALL), **change}
    message = refused(shared().client.post(path, json=body), 422, "INVALID_REQUEST", field)
    assert field in message or "unknown" in message


@pytest.mark.parametrize("name", ["", "x" * 79, "x" * 10_000, "a`b", "é" * 100, "two\nlines"])
def test_an_unknown_field_is_named_whatever_its_name(name: str) -> None:
    response = shared().client.post("/execute", json={**SMALL, name: 1})
    assert response.json()["error"]["field"] == (name if len(name) <= 80 else name[:79] + "…")


def test_a_query_is_not_passed_over() -> None:
    refused(shared().client.post("/execute?steps=2", json=SMALL), 422, "INVALID_REQUEST", "steps")


def test_a_missing_prompt_is_named() -> None:
    refused(shared().client.post("/execute", json={}), 422, "INVALID_REQUEST", "prompt")


def test_sizes_say_the_nearest() -> None:
    message = refused(shared().client.post("/execute", json={**SMALL, "width": 65}), 422, "INVALID_REQUEST", "width")
    assert "nearest is 64" in message


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"operation": "image_upscale"}, 422, "operation"),
        ({"operation": None}, 422, "operation"),
        ({"model": "/etc/passwd"}, 404, "model"),
        ({"worker_id": "another"}, 404, "worker_id"),
        ({"loras": [{"path": "x"}]}, 422, "loras"),
        ({"loras": [{"path": "x", "scale": 1}]}, 422, "scale"),
        ({"operation": "image_transform", "input_image": encoded(), "width": 65}, 422, "width"),
        ({"operation": "image_transform", "input_image": encoded(), "init_image": encoded()}, 422, "input_image"),
        ({"operation": "image_inpaint", "init_image": encoded()}, 422, "mask_image"),
        ({"operation": "image_inpaint", "init_image": encoded((64, 8)), "mask_image": encoded()}, 422, "mask_image"),
    ],
)
def test_a_job_for_somebody_else(change: dict[str, Any], status: int, field: str) -> None:
    code = "MODEL_NOT_FOUND" if status == 404 else "INVALID_REQUEST"
    refused(shared().client.post("/v1/jobs", json={**JOB, **change}), status, code, field)


def test_a_body_that_is_too_large_is_413_whether_or_not_it_says_so() -> None:
    worker, large = shared(), b'{"prompt":"' + b"x" * (3 << 20) + b'"}'
    headers = {"content-type": "application/json"}
    refused(worker.client.post("/execute", content=large, headers=headers), 413, "BODY_TOO_LARGE")
    pieces = (large[start : start + 65536] for start in range(0, len(large), 65536))
    # The worker may have said its word and closed while the rest was on its way.
    with contextlib.suppress(httpx.WriteError):
        refused(worker.client.post("/execute", content=pieces, headers=headers), 413, "BODY_TOO_LARGE")
    assert draw(worker, SMALL)[-1].name == "complete"


def test_a_long_prompt_within_the_limit_is_read() -> None:
    result = draw(shared(), {**SMALL, "prompt": "a robot " * 30_000})[-1].data
    assert result["warnings"][0].startswith("prompt has ")
    for field in ("prompt", "negative_prompt"):
        body = {**SMALL, field: "a robot " * 40_000}
        refused(shared().client.post("/execute", json=body), 422, "INVALID_REQUEST", field)


@pytest.mark.parametrize("name", ["idempotency-key", "x-deadline", "last-event-id"])
def test_bad_headers_are_named(name: str) -> None:
    worker = shared()
    canonical = {"idempotency-key": "Idempotency-Key", "x-deadline": "X-Deadline", "last-event-id": "Last-Event-ID"}
    value = "k" * 257 if name == "idempotency-key" else "soon"
    if name == "last-event-id":
        job_id = submit(worker, SMALL)
        wait_for_status(worker, job_id, "completed")
        response = worker.client.get(f"/v1/jobs/{job_id}/stream", headers={name: value})
    else:
        response = worker.client.post("/execute", json=SMALL, headers={name: value})
    refused(response, 422, "INVALID_REQUEST", canonical[name])


@pytest.mark.parametrize("job_id", ["x", "job-", "..%2f..%2fetc", "%00", "job-" + "0" * 5000])
def test_an_unknown_job_is_404(job_id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/stream")):
        response = shared().client.request(method, f"/v1/jobs/{job_id}{path}")
        assert (response.status_code, response.json()["error"]["code"]) in [(404, "JOB_NOT_FOUND"), (404, "NOT_FOUND")]
        no_internals(response.text)
    refused(shared().client.post("/cancel", json={"job_id": job_id}), 404, "JOB_NOT_FOUND")


def animation() -> str:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    return base64.b64encode(buffer.getvalue()).decode()


def bomb() -> str:
    """A PNG of a few hundred bytes that says it has 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return base64.b64encode(file).decode()


@pytest.mark.parametrize(
    "image",
    [
        "",
        "####",
        "YQ",
        "YQ==YQ==",
        "Y Q = =",
        "aGVsbG8gd29ybGQ=",
        "é" * 4,
        "data:text/html;base64,PGI+",
        "data:image/png," + encoded(),
        "http://127.0.0.1/x.png",
        "/etc/passwd",
        encoded(format="GIF"),
        encoded(format="BMP"),
        encoded(format="TIFF"),
        encoded((2049, 2048)),
        encoded()[:80],
        animation(),
        bomb(),
    ],
    ids=lambda image: image[:12] or "empty",
)
@pytest.mark.parametrize("field", ["image", "mask"])
def test_a_picture_that_cannot_be_taken_is_422(field: str, image: str) -> None:
    body = {"prompt": "a robot", "image": encoded(), "mask": encoded(), field: image}
    refused(shared().client.post("/inpaint", json=body), 422, "INVALID_REQUEST", field)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_pictures_that_can_be_taken_with_and_without_a_data_uri(format: str) -> None:
    for head in ("", f"data:image/{format.lower()};base64,"):
        body = {"prompt": "a robot", "image": head + encoded(format=format)}
        finished = shared().client.post("/img2img", json={**body, "steps": 2}, headers={"accept": "application/json"})
        assert (finished.status_code, finished.json()["warnings"]) == (200, [])


@pytest.mark.parametrize("strength", [0, -0.1, 1.1])
def test_strength_has_a_range(strength: float) -> None:
    body = {"prompt": "a robot", "image": encoded(), "strength": strength}
    refused(shared().client.post("/img2img", json=body), 422, "INVALID_REQUEST", "strength")


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("out of memory", 507, "VRAM_OOM"),
        ("no memory", 507, "VRAM_OOM"),
        ("panic", 500, "INFERENCE_FAILED"),
        ("lost device", 503, "DEVICE_ERROR"),
        ("not finite", 500, "INFERENCE_FAILED"),
        ("bug", 500, "INTERNAL"),
    ],
)
def test_a_job_that_fails_inside_tells_no_internals_and_the_worker_lives(prompt: str, status: int, code: str) -> None:
    worker = failing()
    body = {**SMALL, "prompt": prompt}
    last = draw(worker, body)[-1]
    assert (last.name, last.data["code"]) == ("error", code)
    no_internals(json.dumps(last.data))
    refused(worker.client.post("/execute", json=body, headers={"accept": "application/json"}), status, code)
    job = wait_for_status(worker, submit(worker, body), "failed")
    assert job["error"]["code"] == code
    no_internals(json.dumps(job))
    assert draw(worker, SMALL)[-1].name == "complete"


def test_bytes_that_are_no_http_do_not_matter() -> None:
    from clients import connect

    for data in (
        b"\0\xff" * 100,
        b"GET\r\n\r\n",
        b"POST /execute HTTP/9\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000,
    ):
        with connect(shared()) as line:
            line.sendall(data)
            line.shutdown(1)
            answer = line.recv(65536)
            assert not answer or b" 400 " in answer.splitlines()[0]
    assert exchange(shared(), "GET", "/health")[0] == 200


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary().map(lambda data: data.hex()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "prompt",
        "negative_prompt",
        "steps",
        "seed",
        "width",
        "height",
        "num_samples",
        "image",
        "mask",
        "strength",
        "preview",
        "preview_every",
        "operation",
        "loras",
        "model",
        "job_id",
        "init_image",
        "scheduler",
    ]
) | st.text(max_size=8)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from(["/execute", "/img2img", "/inpaint", "/v1/jobs", "/cancel"]),
    fields=st.dictionaries(names, values, max_size=6),
)
def test_any_json_is_answered_and_never_with_500(path: str, fields: dict[str, Any]) -> None:
    # What happens to be right is not to be drawn for long.
    data = json.dumps({**fields, "steps": fields.get("steps", 1), "width": 7} if path == "/execute" else fields)
    response = shared().client.post(path, content=data, headers={"content-type": "application/json"})
    assert response.status_code in (400, 404, 410, 422)
    refused(response, response.status_code, response.json()["error"]["code"], response.json()["error"].get("field"))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=200))
def test_any_bytes_are_answered_and_never_with_500(data: bytes) -> None:
    response = shared().client.post("/v1/jobs", content=data, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    no_internals(response.text)
