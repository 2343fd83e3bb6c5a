"""Bodies of requests to the shapes of `requests`."""

import re
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from sd_rbee.server.errors import ReaderLeftError, RequestError
from sd_rbee.server.requests import BODIES

_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in BODIES.items()}
_MAX_NAME = 80
_NAMED = re.compile(r"(?:unknown|required) field `(.*?)`(?: - at `\$[^`]*`)?\Z", re.DOTALL)
_PLACE = re.compile(r" - at `\$\.?(.+)`", re.DOTALL)


async def read(request: Request[Any, Any, Any], name: str) -> Any:  # noqa: ANN401 - one of the shapes
    """The request's body as a value of the named shape.

    Raises:
        RequestError: It is no JSON, or not of the shape, in which case the field is named; the address has a query,
            which no route with a body takes; or the client left.
    """
    if request.scope["query_string"]:
        field = _short(next(iter(request.query_params), ""))
        raise RequestError(422, "INVALID_REQUEST", "this route takes no query: its fields are the body's", field)
    try:
        data = await request.body()
    except InternalServerException:
        raise ReaderLeftError from None
    try:
        return _DECODERS[name].decode(data)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(400, "INVALID_JSON", "the body is not JSON") from None


def _refusal(text: str) -> RequestError:
    """What msgspec says of a body, with the field that it says it of."""
    # Names are the client's own, of any length.
    found = _NAMED.search(text) or _PLACE.search(text)
    return RequestError(422, "INVALID_REQUEST", text[:500], None if found is None else _short(found[1]))


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
