"""Bodies and pictures broken in every way: each is drawn or refused in the one shape, and the next one is drawn."""

import base64
import io
import itertools
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from clients import connect, draw, exchange, request_bytes
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import SMALL, shared

from sd_rbee.errors import InvalidParamsError
from sd_rbee.server.input_images import read_image

TINY: dict[str, Any] = {"prompt": "a robot", "steps": 1, "width": 16, "height": 16, "seed": 7}
JSON = {"content-type": "application/json", "accept": "application/json"}
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "PPM")
over_the_line = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def _draws_afterwards() -> Iterator[None]:
    yield
    assert draw(shared(), SMALL)[-1].name == "complete"


def well_answered(response: httpx.Response) -> dict[str, Any]:
    """The error, or nothing where the request was good after all."""
    if response.status_code == 200:
        assert response.json()["type"] == "complete"
        return {}
    assert response.status_code in (400, 404, 410, 413, 415, 422, 501), response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) - {"field"} == {"code", "message", "retriable", "correlation_id"}
    assert len(response.content) < 2000
    return error


def post(path: str, data: bytes | Iterator[bytes], headers: dict[str, str] | None = None) -> dict[str, Any]:
    return well_answered(shared().client.post(path, content=data, headers={**JSON, **(headers or {})}))


any_text = st.text(st.characters(exclude_categories=()), max_size=20)
numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**32, 2**63, 2**64 - 1, 2**64, 10**400, 1e308, 5e-324, float("nan"), -0.0]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, any_text, st.sampled_from(["ddim", "7", "true", "\0", "a" * 5000])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(any_text, inner, max_size=3)),
    max_leaves=6,
)
names = st.sampled_from(
    [
        *(*TINY, "negative_prompt", "guidance_scale", "scheduler", "eta", "timestep_spacing", "use_karras_sigmas"),
        *("num_samples", "preview_every", "preview", "strength", "image", "mask", "operation", "loras", "model"),
    ]
)


def is_quick(field: tuple[str, Any]) -> bool:
    """Whether it makes no large picture of a small one, which is right but takes its time."""
    name, value = field
    return name not in ("width", "height", "num_samples", "steps") or type(value) is not int or not 16 < value < 5000


fields = st.tuples(st.one_of(names, any_text), values).filter(is_quick)


def written(pairs: list[tuple[str, Any]], *, escaped: bool = True) -> str:
    """JSON that may name a field twice."""
    parts = (
        f"{json.dumps(name, ensure_ascii=escaped)}:{json.dumps(value, ensure_ascii=escaped)}" for name, value in pairs
    )
    return f"{{{','.join(parts)}}}"


@over_the_line
@example(extra=[("[", None)], path="/execute")
@given(extra=st.lists(fields, max_size=3), path=st.sampled_from(["/execute", "/img2img", "/inpaint", "/v1/jobs"]))
def test_fields_of_any_value_are_drawn_or_named(path: str, extra: list[tuple[str, Any]]) -> None:
    # What a job endpoint takes is drawn behind the test's back.
    right = [("steps", 0)] if path == "/v1/jobs" else list(TINY.items())
    error = post(path, written([*right, *extra]).encode())
    if error and error["code"] == "INVALID_REQUEST":
        named = {name for name, _ in [*right, *extra]} | {"operation", "prompt", "image", "mask"}
        # An unknown field may have a bracket in its own name; else what follows one is a place in a list.
        assert named & {error["field"], error["field"].partition("[")[0]}


@over_the_line
@given(
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7"]),
    escaped=st.booleans(),
    prompt=any_text,
    cut=st.integers(0, 400),
    junk=st.binary(max_size=5),
)
def test_other_encodings_and_broken_ends_are_not_json(
    encoding: str, escaped: bool, prompt: str, cut: int, junk: bytes
) -> None:
    text = written([("prompt", prompt), *list(TINY.items())[1:]], escaped=escaped)
    data = text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
    error = post("/execute", data[: len(data) - cut] + junk if cut < len(data) else junk)
    assert error.get("code") in (None, "INVALID_JSON", "INVALID_REQUEST")


@over_the_line
@given(cuts=st.lists(st.integers(0, 80), max_size=10), whole=st.booleans())
def test_a_body_in_pieces_is_the_same_body(cuts: list[int], whole: bool) -> None:
    data = json.dumps(TINY).encode()[: None if whole else -1]
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    error = post("/execute", iter([data[a:b] for a, b in itertools.pairwise(places)]))
    assert error.get("code") == (None if whole else "INVALID_JSON")


@pytest.mark.parametrize("depth", [500, 5_000, 500_000])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("name", ["prompt", "loras", "unknown"])
def test_depth_is_no_danger(name: str, left: str, right: str, depth: int) -> None:
    depth = min(depth, 300_000 if len(left) > 1 else depth)
    data = f'{{"{name}":{left * depth}1{right * depth}}}'.encode()[: 2 << 20]
    for path in ("/execute", "/v1/jobs"):
        assert post(path, data)["code"] in ("INVALID_JSON", "INVALID_REQUEST")


@pytest.mark.parametrize(
    "kind",
    [
        "text/json",
        "application/ld+json",
        "application/json, text/plain",
        "application/json charset=utf-16",
        ";",
        "json",
        "multipart/form-data",
        "application/octet-stream",
        "application/x-msgpack",
        "x" * 4000,
    ],
)
def test_other_content_types_are_415(kind: str) -> None:
    status, _, body = exchange(shared(), "POST", "/execute", json.dumps(TINY).encode(), {"content-type": kind})
    assert (status, json.loads(body)["error"]["field"]) == (415, "Content-Type")


def test_a_body_shorter_than_it_says_is_waited_for_and_a_longer_one_is_cut() -> None:
    data = json.dumps(TINY).encode()
    with connect(shared()) as line:
        line.sendall(request_bytes(shared(), "POST", "/execute", data, {"content-length": str(len(data) + 9)}))
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100) == b""
    status, _, body = exchange(shared(), "POST", "/execute", data, {"content-length": str(len(data) - 1)})
    assert status == 400
    assert b"INVALID_JSON" in body


def picture_file(format: str, size: tuple[int, int], mode: str) -> bytes:
    buffer = io.BytesIO()
    noise = random.Random(7).randbytes(3 * size[0] * size[1])
    Image.frombytes("RGB", size, noise).convert(mode).save(buffer, format)
    return buffer.getvalue()


def animations() -> list[bytes]:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    files = []
    for format in ("PNG", "WEBP", "GIF"):
        buffer = io.BytesIO()
        frames[0].save(buffer, format, save_all=True, append_images=frames[1:])
        files.append(buffer.getvalue())
    return files


@st.composite
def broken_files(draw_value: st.DrawFn) -> bytes:
    """A picture's file, with some of its bytes changed, cut out or put in."""
    format = draw_value(st.sampled_from(FORMATS))
    mode = draw_value(st.sampled_from(["RGB", "L"]))
    data = bytearray(picture_file(format, draw_value(st.sampled_from([(1, 1), (16, 16), (64, 9)])), mode))
    for place in draw_value(st.lists(st.integers(0, len(data) - 1), max_size=6)):
        # Heads are where the sizes are.
        data[draw_value(st.sampled_from([place, place % 64])) % len(data)] = draw_value(st.integers(0, 255))
    data = data[: draw_value(st.integers(0, len(data)))] if draw_value(st.booleans()) else data
    return bytes(data) + draw_value(st.binary(max_size=8))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.one_of(broken_files(), st.binary(max_size=200)), head=st.sampled_from(["", "data:image/png;base64,"]))
def test_any_file_is_a_picture_or_an_error_that_names_its_field(data: bytes, head: str) -> None:
    text = head + base64.b64encode(data).decode()
    try:
        picture = read_image("mask", text, max_pixels=4096)
    except InvalidParamsError as refusal:
        error = refusal
    else:
        assert picture.rgb_and_alpha()[0].size == picture.as_mask().size == picture.size
        assert picture.width * picture.height <= 4096
        return
    assert error.field == "mask"
    assert len(str(error)) < 200


@over_the_line
@given(data=broken_files(), field=st.sampled_from(["image", "mask"]))
def test_any_file_over_the_line_is_taken_or_named(data: bytes, field: str) -> None:
    right = base64.b64encode(picture_file("PNG", (16, 16), "RGB")).decode()
    body = {"prompt": "a robot", "steps": 1, "image": right, "mask": right, field: base64.b64encode(data).decode()}
    error = post("/inpaint", json.dumps(body).encode())
    assert not error or error["field"] in ("image", "mask")


@pytest.mark.parametrize("data", animations(), ids=["apng", "webp", "gif"])
def test_an_animation_is_refused(data: bytes) -> None:
    error = post("/img2img", json.dumps({"prompt": "x", "image": base64.b64encode(data).decode()}).encode())
    assert (error["code"], error["field"]) == ("INVALID_REQUEST", "image")


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64",
        "data:;base64,AAAA",
        "data:image/svg+xml;base64,PHN2Zy8+",
        "DATA:IMAGE/PNG;BASE64,AAAA",
        "data:image/png;charset=x;base64,AAAA",
        "file:///etc/passwd",
        "AA\nAA",
        "AAA=AAA=",
        "-_-_",
        "=" * 8,
    ],
)
def test_what_is_not_strict_base64_is_refused(text: str) -> None:
    error = post("/img2img", json.dumps({"prompt": "x", "image": text}).encode())
    assert (error["code"], error["field"]) == ("INVALID_REQUEST", "image")
