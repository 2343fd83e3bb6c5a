"""Bodies of requests to the shapes of `requests`."""

import re
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from sd_rbee.server.errors import ReaderLeftError, RequestError
from sd_rbee.server.requests import BODIES

_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in BODIES.items()}
_FIELD = re.compile(r"(?:unknown field|required field) `([^`]{1,80})`|at `\$\.?([^`]{1,80})`")


async def read(request: Request[Any, Any, Any], name: str) -> Any:  # noqa: ANN401 - one of the shapes
    """The request's body as a value of the named shape.

    Raises:
        RequestError: It is no JSON, or not of the shape, in which case the field is named; or the client left.
    """
    try:
        data = await request.body()
    except InternalServerException:
        raise ReaderLeftError from None
    try:
        return _DECODERS[name].decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        field = _FIELD.search(text)
        raise RequestError(422, "INVALID_REQUEST", text[:500], (field[1] or field[2]) if field else None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(400, "INVALID_JSON", "the body is not JSON") from None
