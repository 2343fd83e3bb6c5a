"""Bytes of a request to one of the shapes of `requests`, and those shapes for the OpenAPI schema."""

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from litestar.openapi.spec import Components, OpenAPIMediaType, Operation, RequestBody

from sd_rbee.server.errors import RequestError
from sd_rbee.server.requests import CancelRequest, ExecuteRequest, Img2ImgRequest, InpaintRequest, JobRequest

Body = TypeVar("Body")
_KINDS: dict[str, Any] = {
    "execute": ExecuteRequest,
    "img2img": Img2ImgRequest,
    "inpaint": InpaintRequest,
    "job": JobRequest,
    "cancel": CancelRequest,
}
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _KINDS.items()}
_FIELD = re.compile(r"(?:unknown field|required field) `([^`]{1,80})`|at `\$\.?([^`]{1,80})`")
_SCHEMAS, _COMPONENTS = msgspec.json.schema_components(_KINDS.values(), ref_template="#/components/schemas/{name}")


def parse(data: bytes, name: str) -> Any:
    """The body as a value of the named shape.

    Raises:
        RequestError: It is no JSON, or not of the shape; the field is named.
    """
    try:
        return _DECODERS[name].decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        field = _FIELD.search(text)
        raise RequestError(422, "INVALID_REQUEST", text, (field[1] or field[2]) if field else None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(400, "INVALID_JSON", "the body is not JSON") from None


def components() -> Components:
    """The shapes for the schema's components."""
    return Components(schemas=dict(_COMPONENTS))


def operation(name: str) -> type[Operation]:
    """An OpenAPI operation whose body has the named shape."""
    schema: Any = dict(zip(_KINDS, _SCHEMAS, strict=True))[name]

    @dataclass
    class WithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)

    return WithBody
