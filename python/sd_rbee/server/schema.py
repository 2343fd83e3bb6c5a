"""What OpenAPI says of each route: Litestar cannot see bodies that the routes read themselves, nor their errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.openapi.spec.enums import OpenAPIType

from sd_rbee.server.requests import BODIES

_BODIES, _SHAPES = msgspec.json.schema_components(BODIES.values(), ref_template="#/components/schemas/{name}")
_BODY_OF: dict[str, Any] = dict(zip(BODIES, _BODIES, strict=True))
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "retriable", "correlation_id"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "retriable": {"type": "boolean"},
                "field": {"type": "string"},
                "correlation_id": {"type": "string", "format": "uuid"},
            },
        }
    },
}
_OF_ALL = (401, 403)
_OF_BODIES = (400, 413, 415, 422)
OF_JOBS = (404, 408, 409, 429, 500, 501, 503, 507)


def components(*, secured: bool) -> Components:
    """How clients prove who they are."""
    bearer: dict[str, SecurityScheme | Reference] = {"bearer": SecurityScheme(type="http", scheme="bearer")}
    return Components(security_schemes=bearer if secured else None)


def with_shapes(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the shapes that the routes refer to, which Litestar replaces by those that it found itself."""
    components = schema.get("components", {})
    shapes = {**components.get("schemas", {}), **_SHAPES, "Error": _ERROR}
    return {**schema, "components": {**components, "schemas": shapes}}


class SchemaFile(JsonRenderPlugin):
    """The schema as JSON."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The file."""
        return super().render(request, with_shapes(openapi_schema))


def operation(
    *,
    body: str | None = None,
    ok: int = 200,
    gives: Sequence[str] = ("application/json",),
    headers: Mapping[str, str] | None = None,
    errors: Sequence[int] = (),
    public: bool = False,
) -> type[Operation]:
    """An OpenAPI operation.

    Args:
        body: Name of the shape of its body.
        ok: The status of success.
        gives: The media types of success.
        headers: Headers that it reads, and what they are for.
        errors: The statuses of its own failures.
        public: Whether it asks for no token.
    """

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            content = {kind: OpenAPIMediaType(schema=Schema()) for kind in gives}
            statuses = sorted({*_OF_ALL[public:], *(_OF_BODIES if body else ()), *errors})
            error: Any = {"$ref": "#/components/schemas/Error"}
            of_error = {"application/json": OpenAPIMediaType(schema=error)}
            self.responses = {
                str(ok): OpenAPIResponse(description=HTTPStatus(ok).phrase, content=content),
                **{str(s): OpenAPIResponse(description=HTTPStatus(s).phrase, content=of_error) for s in statuses},
            }
            if body is not None:
                shape = OpenAPIMediaType(schema=_BODY_OF[body])
                self.request_body = RequestBody(content={"application/json": shape}, required=True)
            text = Schema(type=OpenAPIType.STRING)
            read = [Parameter(name, "header", schema=text, description=why) for name, why in (headers or {}).items()]
            self.parameters = [*(self.parameters or []), *read] or None
            if public:
                self.security = []

    return Described
