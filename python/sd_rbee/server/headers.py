"""What clients say in headers."""

import re
from typing import Any

from litestar import Request

from sd_rbee.server.errors import RequestError
from sd_rbee.server.schema import WHOLE_NUMBER, header

STREAM, JSON, PNG = "text/event-stream", "application/json", "image/png"
# What a range stands for; where anything goes, the seed's own: a stream.
_RANGES = {"*/*": STREAM, "text/*": STREAM, "application/*": JSON, "image/*": PNG}
_QUALITY = re.compile(r"[01](?:\.[0-9]{0,3})?")
_MAX_KEY_LENGTH = 256
OF_SUBMISSIONS = (
    header(
        "Idempotency-Key",
        "The same key and the same request give the same job.",
        minLength=1,
        maxLength=_MAX_KEY_LENGTH,
    ),
    header("X-Deadline", "Milliseconds since the epoch after which nobody wants the result.", pattern=WHOLE_NUMBER),
)


def idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    """The request's `Idempotency-Key`, if it has one.

    Raises:
        RequestError: It is empty or too long.
    """
    key: str | None = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= _MAX_KEY_LENGTH:
        message = f"the key has {len(key)} characters, allowed are 1 to {_MAX_KEY_LENGTH}"
        raise RequestError(422, "INVALID_REQUEST", message, "Idempotency-Key")
    return key


def deadline(request: Request[Any, Any, Any]) -> float | None:
    """The request's `X-Deadline` in seconds since the epoch, if it has one.

    Raises:
        RequestError: It is not a number of milliseconds.
    """
    text = request.headers.get("x-deadline")
    return None if text is None else _whole_number(text, "X-Deadline") / 1000


def last_event_id(request: Request[Any, Any, Any]) -> int:
    """The request's `Last-Event-ID`; 0 if it has none.

    Raises:
        RequestError: It is not a whole number.
    """
    return _whole_number(request.headers.get("last-event-id", "0"), "Last-Event-ID")


def preferred_type(request: Request[Any, Any, Any]) -> str:
    """The one of our media types that `Accept` likes best, the first among equals.

    Raises:
        RequestError: It wants none of them.
    """
    wanted: list[tuple[float, str]] = []
    for part in request.headers.get("accept", "*/*").split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        kind = _RANGES.get(name, name)
        if kind in (STREAM, JSON, PNG):
            wanted.append((_weight(parameters), kind))
    weight, kind = max(wanted, key=lambda entry: entry[0], default=(0.0, ""))
    if weight <= 0:
        raise RequestError(406, "NOT_ACCEPTABLE", f"this route answers with {STREAM}, {JSON} or {PNG}", "Accept")
    return kind


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if _QUALITY.fullmatch(value) else 0.0
    return 1.0


def _whole_number(text: str, header: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise RequestError(422, "INVALID_REQUEST", f"{header} is a whole number", header)
    return int(text)
