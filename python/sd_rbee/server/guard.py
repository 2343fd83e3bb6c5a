"""What stands before every route: correlation ids, hosts and origins, the token, the content type, stalled bodies."""

import asyncio
import hmac
import ipaddress
import re
import socket
import uuid

from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from sd_rbee.server.errors import RequestError
from sd_rbee.server.responses import send_error
from sd_rbee.settings import WorkerSettings

CORRELATION_HEADER = "x-correlation-id"
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_CHARSET = re.compile(r"charset\s*=\s*\"?([^\s\";]*)", re.IGNORECASE)
PUBLIC = frozenset({"/", "/health", "/v1/health", "/ready", "/v1/ready"})
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
_MAX_TOKEN_BYTES = 8192
_PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD, POST, DELETE, OPTIONS",
    "access-control-allow-headers": (
        "authorization, content-type, idempotency-key, last-event-id, x-correlation-id, x-deadline"
    ),
    "access-control-max-age": "600",
}


class Guard:
    """An ASGI application around another, which lets through what may be answered.

    It stands outside the router, so that only OPTIONS tells who may not ask which routes there are.

    Args:
        app: What is behind it.
        settings: The worker's own.
    """

    def __init__(self, app: ASGIApp, settings: WorkerSettings) -> None:
        self._app = app
        self._settings = settings
        names = {"localhost", settings.host, socket.gethostname(), *settings.allow_hosts}
        self._hosts = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or hands on."""
        if scope["type"] == ScopeType.WEBSOCKET:
            await self._app(scope, receive, send)
            return
        headers = Headers.from_scope(scope)
        given = headers.get(CORRELATION_HEADER, "")
        correlation_id = given if _UUID.fullmatch(given) else str(uuid.uuid4())
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        origin, method = headers.get("origin"), scope["method"]
        allowed = origin is not None and origin in self._settings.allow_origins
        takes_head = _takes_head(scope["path"])

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                marked = MutableScopeHeaders.from_message(message)
                marked[CORRELATION_HEADER] = correlation_id
                marked["x-content-type-options"] = "nosniff"
                if origin is not None and allowed:
                    marked["access-control-allow-origin"] = origin
                    marked["access-control-expose-headers"] = "x-correlation-id, x-job-id, x-seed, retry-after"
                    marked["vary"] = "Origin"
                    if method == "OPTIONS":
                        marked.update(_PREFLIGHT)
                if takes_head and "GET" in marked.get("allow", ""):
                    marked["allow"] += ", HEAD"
            await send(message)

        try:
            self._check_source(headers)
            if method != "OPTIONS":
                # Pages ask by OPTIONS whether they may, and carry no token then.
                self._check_token(scope["path"], headers)
            if method == "POST":
                _check_content_type(headers)
        except RequestError as error:
            await send_error(error, correlation_id, send_marked)
            return
        if method == "HEAD" and takes_head:
            # The server in front leaves the body out.
            scope = {**scope, "method": "GET"}
        await self._app(scope, _in_time(receive, self._settings.patience_seconds), send_marked)

    def _check_source(self, headers: Headers) -> None:
        """Refuses names that somebody else's DNS could point here, and pages that may not call."""
        host = headers.get("host", "").lower()
        parts = _HOST.fullmatch(host)
        name = "" if parts is None else parts[1] or parts[2]
        if name not in self._hosts and not _is_address(name):
            raise RequestError(403, "HOST_NOT_ALLOWED", "this worker does not answer to that host name", "Host")
        origin = headers.get("origin")
        if origin is not None and origin not in self._settings.allow_origins and origin != f"http://{host}":
            raise RequestError(403, "ORIGIN_NOT_ALLOWED", "pages of that origin may not call this worker", "Origin")

    def _check_token(self, path: str, headers: Headers) -> None:
        token = self._settings.token
        if token is None or path in PUBLIC:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if not given or scheme != "Bearer":
            raise RequestError(401, "MISSING_API_KEY", "send the token as `Authorization: Bearer …`", "Authorization")
        data = given.strip().encode("utf-8", "surrogateescape")
        if len(data) > _MAX_TOKEN_BYTES or not hmac.compare_digest(data, token.encode()):
            raise RequestError(401, "INVALID_API_KEY", "the token is not this worker's", "Authorization")


def _check_content_type(headers: Headers) -> None:
    """The three types that a page can send anywhere without asking first are refused, and all others but JSON."""
    empty = headers.get("content-length", "") == "0" or (
        "content-length" not in headers and "transfer-encoding" not in headers
    )
    kind, _, parameters = headers.get("content-type", "").partition(";")
    kind, charset = kind.strip().lower(), _CHARSET.search(parameters)
    if kind != "application/json" and not (empty and not kind):
        message = "send JSON, with the content type application/json"
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", message, "Content-Type")
    if charset is not None and charset[1].lower() not in _CHARSETS:
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", "send JSON in UTF-8", "Content-Type")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", "send JSON uncompressed", "Content-Encoding")


def _takes_head(path: str) -> bool:
    """Jobs do not: to be shown one's result counts as having had it, and its events last as long as it does."""
    return not path.startswith("/v1/jobs")


def _in_time(receive: Receive, patience: float) -> Receive:
    """`receive`, with a limit to the wait for each part of the body; none for the client's departure after it."""
    whole = False

    async def receive_in_time() -> ReceiveMessage:
        nonlocal whole
        try:
            async with asyncio.timeout(None if whole else patience):
                message = await receive()
        except TimeoutError:
            raise RequestError(408, "REQUEST_TIMEOUT", "the rest of the body has not come", retriable=True) from None
        whole = message["type"] != "http.request" or not message["more_body"]
        return message

    return receive_in_time


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
