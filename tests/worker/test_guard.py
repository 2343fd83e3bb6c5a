"""Who may ask: hosts, origins, tokens, content types; and that every answer carries its correlation id."""

import json
import uuid
from collections.abc import Mapping

import pytest
from clients import connect, exchange
from serving import SMALL, WorkerProcess, serving, shared

BODY = json.dumps(SMALL).encode()


def code(
    worker: WorkerProcess, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, str]:
    status, _, data = exchange(worker, method, path, body, headers)
    return status, json.loads(data)["error"]["code"] if status >= 400 else ""


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "x@127.0.0.1", "[::1", "127.0.0.1:x", "a/b", ""],
)
def test_other_names_are_refused(host: str) -> None:
    assert code(shared(), "GET", "/health", {"host": host}) == (403, "HOST_NOT_ALLOWED")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8081", "10.0.0.7"])
def test_addresses_and_localhost_are_answered(host: str) -> None:
    assert code(shared(), "GET", "/health", {"host": host}) == (200, "")


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "https://localhost", "http://127.0.0.1:1", "file://", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_other_origins_are_refused(origin: str, method: str) -> None:
    path = "/health" if method == "GET" else "/execute"
    status, headers, _ = exchange(shared(), method, path, headers={"origin": origin})
    assert status == 403
    assert not any(name.startswith("access-control") for name in headers)


def test_the_workers_own_pages_may_ask() -> None:
    assert code(shared(), "GET", "/info", {"origin": shared().url}) == (200, "")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/execute", "OPTIONS, POST"),
        ("/v1/jobs", "OPTIONS, POST"),
        ("/v1/jobs/job-1", "DELETE, GET, OPTIONS"),
        ("/v1/jobs/job-1/stream", "GET, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/schema", "GET, HEAD, OPTIONS"),
        ("/shutdown", "OPTIONS, POST"),
    ],
)
def test_options_and_wrong_methods_tell_the_right_ones(path: str, methods: str) -> None:
    for method, expected in (("OPTIONS", 204), ("PUT", 405)):
        status, headers, body = exchange(shared(), method, path)
        assert (status, ", ".join(sorted(headers["allow"].split(", ")))) == (expected, methods)
        assert not any(name.startswith("access-control") for name in headers)
        if method == "PUT":
            assert json.loads(body)["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert code(shared(), "OPTIONS", "/no/such/route", {}) == (404, "NOT_FOUND")


def test_origins_and_hosts_that_are_allowed() -> None:
    flags = ("--allow-origin", "https://ui.example", "--allow-host", "Worker.example")
    with serving(*flags, env={"SD_RBEE_API_TOKEN": "t"}) as worker:
        preflight = {"origin": "https://ui.example", "access-control-request-method": "POST"}
        status, headers, _ = exchange(worker, "OPTIONS", "/execute", headers=preflight)
        assert status == 204
        assert headers["access-control-allow-origin"] == "https://ui.example"
        assert headers["vary"] == "Origin"
        assert "POST" in headers["access-control-allow-methods"]
        assert "authorization" in headers["access-control-allow-headers"]
        status, headers, _ = exchange(worker, "GET", "/info", headers={"origin": "https://ui.example"})
        assert (status, headers["access-control-allow-origin"]) == (401, "https://ui.example")
        assert code(worker, "GET", "/health", {"host": "worker.example:80"}) == (200, "")
        assert code(worker, "GET", "/health", {"origin": "https://other.example"}) == (403, "ORIGIN_NOT_ALLOWED")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", ""],
)
def test_a_body_that_is_not_called_json_is_415(kind: str) -> None:
    assert code(shared(), "POST", "/execute", {"content-type": kind}, BODY) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"', "us-ascii"])
def test_json_may_name_its_charset(charset: str) -> None:
    kind = f"Application/JSON; charset={charset}"
    assert code(shared(), "POST", "/execute", {"content-type": kind}, BODY) == (200, "")


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"content-type": "application/json; charset=utf-16"}, "Content-Type"),
        ({"content-type": "application/json;CHARSET=latin-1"}, "Content-Type"),
        ({"content-encoding": "gzip"}, "Content-Encoding"),
    ],
)
def test_json_in_another_dress_is_415_and_says_which(headers: dict[str, str], field: str) -> None:
    status, _, body = exchange(shared(), "POST", "/execute", BODY, headers)
    assert (status, json.loads(body)["error"]["field"]) == (415, field)


def test_what_is_no_http_is_an_error_of_the_same_shape() -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"POST /execute HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n"):
        with connect(shared()) as line:
            line.sendall(data)
            head, _, body = b"".join(iter(lambda: line.recv(65536), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        error = json.loads(body)["error"]
        assert error["code"] == "INVALID_HTTP"
        assert error["correlation_id"].encode() in head


def test_a_correlation_id_is_echoed_or_made() -> None:
    given = str(uuid.uuid4())
    status, headers, body = exchange(shared(), "GET", "/no/route", headers={"x-correlation-id": given})
    assert (status, headers["x-correlation-id"]) == (404, given)
    assert json.loads(body)["error"]["correlation_id"] == given
    for odd in ("x", given + "\t", "<script>", given.replace("-", "")):
        made = exchange(shared(), "GET", "/health", headers={"x-correlation-id": odd})[1]["x-correlation-id"]
        assert str(uuid.UUID(made)) == made != given or odd.strip() == given
    assert exchange(shared(), "GET", "/health")[1]["x-content-type-options"] == "nosniff"
