"""What OpenAPI says of each route: Litestar cannot see bodies that the routes read themselves, nor their errors."""

import copy
from collections.abc import Callable, Mapping, Sequence
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

from sd_rbee.initial_image import MAX_SIDE
from sd_rbee.server.answers import ANSWERS
from sd_rbee.server.requests import BODIES
from sd_rbee.settings import Limits

_PLACES, _SHAPES = msgspec.json.schema_components(
    [*BODIES.values(), *ANSWERS.values()], ref_template="#/components/schemas/{name}"
)
_PLACE_OF: dict[str, Any] = dict(zip([*BODIES, *ANSWERS], _PLACES, strict=True))
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
_ONE_IMAGE = [
    {"required": [given], "properties": {given: {"type": "string"}, other: {"type": "null"}}}
    for given, other in (("input_image", "init_image"), ("init_image", "input_image"))
]
# One at least.
_MASK_OR_BORDER = {
    name: [
        {"required": [mask], "properties": {mask: {"type": "string"}}},
        {"required": ["outpaint"], "properties": {"outpaint": {"type": "array"}}},
    ]
    for name, mask in (("InpaintRequest", "mask"), ("ImageInpaint", "mask_image"))
}
_OF_ALL = (401, 403)
_OF_BODIES = (400, 408, 413, 415, 422)
OF_JOBS = (404, 408, 409, 429, 500, 501, 503, 507)
WHOLE_NUMBER = "^[0-9]{1,18}$"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one worker takes of what the shapes allow.

    Attributes:
        limits: The operator's.
        size_multiple: The model's, for height and width.
        schedulers: The model's; empty as long as they are not known.
    """

    limits: Limits
    size_multiple: int
    schedulers: Sequence[str]


def components(*, secured: bool) -> Components:
    """How clients prove who they are."""
    bearer: dict[str, SecurityScheme | Reference] = {"bearer": SecurityScheme(type="http", scheme="bearer")}
    return Components(security_schemes=bearer if secured else None)


def with_shapes(schema: dict[str, Any], bounds: Bounds) -> dict[str, Any]:
    """The schema with the shapes that the routes refer to, which Litestar replaces by those that it found itself."""
    shapes = copy.deepcopy(_SHAPES)
    for shape in shapes.values():
        if "prompt" in shape.get("properties", {}):
            _bind(shape["properties"], bounds)
    shapes["ImageTransform"]["oneOf"] = _ONE_IMAGE
    for name, choices in _MASK_OR_BORDER.items():
        shapes[name]["anyOf"] = choices
    components = schema.get("components", {})
    shapes = {**components.get("schemas", {}), **shapes, "Error": _ERROR}
    return {**schema, "components": {**components, "schemas": shapes}}


def _bind(fields: dict[str, Any], bounds: Bounds) -> None:
    limits, multiple = bounds.limits, bounds.size_multiple
    side = min(MAX_SIDE, limits.max_pixels // multiple)
    sides = {"minimum": multiple, "maximum": side - side % multiple, "multipleOf": multiple}
    bound: dict[str, dict[str, Any]] = {
        "steps": {"maximum": limits.max_steps},
        "num_samples": {"maximum": limits.max_batch},
        "preview_every": {"maximum": limits.max_steps},
        "scheduler": {"enum": list(bounds.schedulers)} if bounds.schedulers else {},
        "height": sides,
        "width": sides,
    }
    for name, more in bound.items():
        if name in fields:
            # A field that may be null has its own type first.
            fields[name].get("anyOf", [fields[name]])[0].update(more)


class SchemaFile(JsonRenderPlugin):
    """The schema as JSON.

    Args:
        bounds: Gives the worker's own, which are not all known at its start.
    """

    def __init__(self, bounds: Callable[[], Bounds]) -> None:
        super().__init__()
        self._bounds = bounds

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The file."""
        return super().render(request, with_shapes(openapi_schema, self._bounds()))


def operation(
    *,
    body: str | None = None,
    answer: str | None = None,
    ok: int = 200,
    gives: Sequence[str] = ("application/json",),
    headers: Sequence[Parameter] = (),
    errors: Sequence[int] = (),
    others: Mapping[int, str] | None = None,
    public: bool = False,
) -> type[Operation]:
    """An OpenAPI operation.

    Args:
        body: Name of the shape of its body.
        answer: Name of the shape of what it gives as JSON.
        ok: The status of success.
        gives: The media types of success.
        headers: Headers that it reads.
        errors: The statuses of its own failures.
        others: Names of the shapes of answers with other statuses, which are no errors.
        public: Whether it asks for no token.
    """

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            content = {kind: OpenAPIMediaType(schema=_schema_of(kind, answer)) for kind in gives}
            statuses = sorted({*_OF_ALL[public:], *(_OF_BODIES if body else ()), *errors})
            error: Any = {"$ref": "#/components/schemas/Error"}
            self.responses = {
                str(ok): _response(ok, content),
                **{str(status): _response(status, _json(error)) for status in statuses},
                **{str(status): _response(status, _json(_PLACE_OF[name])) for status, name in (others or {}).items()},
            }
            if body is not None:
                self.request_body = RequestBody(content=_json(_PLACE_OF[body]), required=True)
            self.parameters = [*(self.parameters or []), *headers] or None
            if public:
                self.security = []

    return Described


def header(name: str, description: str, **limits: Any) -> Parameter:  # noqa: ANN401 - JSON Schema's own
    """A header that a route reads.

    Args:
        name: Its name.
        description: What it is for.
        limits: What its text must be, as in JSON Schema.
    """
    schema: Any = {"type": "string", **limits}
    return Parameter(name, "header", schema=schema, description=description)


def _schema_of(kind: str, answer: str | None) -> Any:  # noqa: ANN401 - OpenAPI's own
    return _PLACE_OF[answer] if kind == "application/json" and answer is not None else Schema()


def _json(schema: Any) -> dict[str, OpenAPIMediaType]:  # noqa: ANN401
    return {"application/json": OpenAPIMediaType(schema=schema)}


def _response(status: int, content: dict[str, OpenAPIMediaType]) -> OpenAPIResponse:
    return OpenAPIResponse(description=HTTPStatus(status).phrase, content=content)
