"""Who may ask: hosts, origins, tokens, content types; and that every answer carries its correlation id."""

import json
import uuid
from collections.abc import Mapping

import pytest
from clients import exchange
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


def test_options_is_answered_for_any_route() -> None:
    for path in ("/execute", "/v1/jobs", "/health"):
        status, headers, body = exchange(shared(), "OPTIONS", path)
        assert (status, body) == (204, b"")
        assert "POST" in headers["allow"]
        assert not any(name.startswith("access-control") for name in headers)


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


def test_json_may_name_its_charset() -> None:
    assert code(shared(), "POST", "/execute", {"content-type": "Application/JSON; charset=utf-8"}, BODY) == (200, "")


def test_a_correlation_id_is_echoed_or_made() -> None:
    given = str(uuid.uuid4())
    status, headers, body = exchange(shared(), "GET", "/no/route", headers={"x-correlation-id": given})
    assert (status, headers["x-correlation-id"]) == (404, given)
    assert json.loads(body)["error"]["correlation_id"] == given
    for odd in ("x", given + "\t", "<script>", given.replace("-", "")):
        made = exchange(shared(), "GET", "/health", headers={"x-correlation-id": odd})[1]["x-correlation-id"]
        assert str(uuid.UUID(made)) == made != given or odd.strip() == given
    assert exchange(shared(), "GET", "/health")[1]["x-content-type-options"] == "nosniff"


def test_wrong_methods_name_the_right_ones() -> None:
    status, headers, body = exchange(shared(), "GET", "/execute")
    assert (status, json.loads(body)["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert "POST" in headers["allow"]
