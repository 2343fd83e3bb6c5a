"""Errors to bytes."""

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.types import Send

from sd_rbee.errors import SdRbeeError
from sd_rbee.server.errors import RequestError, Wire, to_wire

_log = logging.getLogger("sd_rbee.server")


async def send_error(error: RequestError, correlation_id: str, send: Send) -> None:
    """Answers with an error, without a framework around."""
    wire = to_wire(error)
    body = msgspec.json.encode(wire.body(correlation_id))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if wire.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": wire.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def handle_exception(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """The response to any exception of a route."""
    wire = _from_framework(error) if isinstance(error, HTTPException) else to_wire(error)
    correlation_id = request.scope["state"].get("correlation_id", "")
    if wire.status == 500 and not isinstance(error, SdRbeeError):
        _log.error("%s of request %s", type(error).__name__, correlation_id, exc_info=error)
    headers = {} if wire.retry_after is None else {"retry-after": str(wire.retry_after)}
    if wire.code == "REQUEST_TIMEOUT":
        headers["connection"] = "close"
    if wire.status == 405 and isinstance(error, HTTPException) and error.headers:
        headers.update(error.headers)
    return Response(wire.body(correlation_id), status_code=wire.status, headers=headers, media_type="application/json")


def _from_framework(error: HTTPException) -> Wire:
    if isinstance(error, NotFoundException):
        return Wire(404, "NOT_FOUND", "there is no such route", False)
    if isinstance(error, MethodNotAllowedException):
        return Wire(405, "METHOD_NOT_ALLOWED", "the route has other methods", False)
    if error.status_code == 413:
        return Wire(413, "BODY_TOO_LARGE", "the body is larger than this worker takes", False)
    if isinstance(error, ValidationException):
        return Wire(422, "INVALID_REQUEST", "a parameter of the address is wrong", False)
    if isinstance(error, ClientException):
        return Wire(error.status_code, "INVALID_REQUEST", "the request cannot be understood", False)
    return to_wire(error)
