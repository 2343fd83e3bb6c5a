"""The API reference as one page: nothing in it is fetched from elsewhere, and nothing in it runs."""

from collections.abc import Callable
from html import escape
from typing import Any

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

from sd_rbee.server.schema import Bounds, with_shapes

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>sd-rbee: API</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1rem}
h2{font:600 1.1rem monospace;border-top:1px solid #ccc;padding-top:1rem}
td{padding:0 1.5rem 0 0;vertical-align:top} code{font-size:.95em}
</style>
<h1>sd-rbee: API</h1>
<p>The same as <a href="/schema/openapi.json">openapi.json</a>.</p>
"""


class ReferencePage(OpenAPIRenderPlugin):
    """Renders the schema as plain HTML.

    Args:
        bounds: Gives the worker's own.
    """

    def __init__(self, bounds: Callable[[], Bounds]) -> None:
        super().__init__(path="/")
        self._bounds = bounds

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page."""
        shapes = with_shapes(openapi_schema, self._bounds())["components"]["schemas"]
        parts = [_HEAD]
        for path, item in openapi_schema["paths"].items():
            for method, operation in item.items():
                parts.append(
                    f"<h2>{method.upper()} {escape(path)}</h2>\n<p>{escape(operation.get('description', ''))}</p>\n"
                )
                parts.extend(_fields(operation, shapes))
                answers = ", ".join(
                    f"{status} {answer['description']}" for status, answer in operation["responses"].items()
                )
                parts.append(f"<p>Answers: {escape(answers)}.</p>\n")
        return "".join([*parts, "</html>\n"]).encode()


def _fields(operation: dict[str, Any], shapes: dict[str, Any]) -> list[str]:
    rows = [(p["name"], "header", p.get("description", "")) for p in operation.get("parameters", [])]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    lines = []
    for part in body.get("anyOf", [body] if body else []):
        shape = shapes[part["$ref"].rpartition("/")[2]]
        required = shape.get("required", [])
        fields = [
            (name, _type(field), "required" if name in required else f"default {_value(field)}")
            for name, field in shape["properties"].items()
        ]
        lines.append(f"<p>{escape(shape.get('description', ''))}</p>\n{_table(fields)}")
    return [_table(rows), *lines] if rows else lines


def _table(rows: list[tuple[str, str, str]]) -> str:
    cells = (f"<tr><td><code>{escape(a)}</code><td>{escape(b)}<td>{escape(c)}\n" for a, b, c in rows)
    return f"<table>\n{''.join(cells)}</table>\n"


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(map(str, field["enum"]))
    return " or ".join(_type(kind) for kind in field["anyOf"]) if "anyOf" in field else str(field.get("type", "object"))


def _value(field: dict[str, Any]) -> str:
    return "the model's own" if field.get("default") is None else str(field["default"])
