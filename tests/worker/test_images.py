"""Drawing over pictures by a worker."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clients import draw, encoded, job_events, picture, submit, wait_for_status
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import busy, serving, shared

from given_images import blob, file_of, noise, values
from sd_rbee import Pipeline
from sd_rbee.engine import Order
from sd_rbee.engine.draw import amount_of_work
from sd_rbee.input_images import InputImage
from sd_rbee.spec import GenerationSpec
from support import pixels, pollen
from tiny_models import write_tiny_model

BODY: dict[str, Any] = {"prompt": "a robot", "steps": 3, "seed": 7}
JSON = {"accept": "application/json"}


def text_of(given_picture: Image.Image, format: str = "PNG", **options: Any) -> str:  # noqa: ANN401 - PIL's own
    return base64.b64encode(file_of(given_picture, format, **options)).decode()


def finished(path: str, body: dict[str, Any]) -> tuple[Image.Image, list[str]]:
    """The picture, and what is said of it."""
    response = shared().client.post(path, json={**BODY, **body}, headers=JSON)
    assert response.status_code == 200, response.text
    return picture(response.json()["image"]), response.json()["warnings"]


@pytest.mark.parametrize("path", ["/img2img", "/v1/jobs input_image", "/v1/jobs init_image"])
def test_over_a_picture(path: str) -> None:
    route, _, field = path.partition(" ")
    if field:
        job = submit(shared(), {**BODY, "operation": "image_transform", field: text_of(noise(40, 24))})
        events, marker = job_events(shared(), job)
        assert marker == "[DONE]"
        drawn, warnings = picture(events[-1].data["image"]), events[-1].data["warnings"]
    else:
        drawn, warnings = finished(route, {"image": text_of(noise(40, 24))})
    # The contract's strength, whatever the model's own is.
    expected = pollen().generate("a robot", image=noise(40, 24), strength=0.8, num_inference_steps=3, seed=7)
    assert np.array_equal(values(drawn), pixels(expected))
    assert warnings == []


@pytest.mark.filterwarnings("ignore::sd_rbee.ChangedImageWarning")
@pytest.mark.parametrize("path", ["/inpaint", "/v1/jobs"])
def test_a_part_of_a_picture(path: str) -> None:
    image, mask = noise(43, 30), blob(43, 30)
    options = {"mask_blur": 2, "padding_mask_crop": 4, "width": 64, "height": 48, "strength": 0.9}
    if path == "/inpaint":
        drawn, warnings = finished(path, {"image": text_of(image), "mask": text_of(mask), **options})
    else:
        fields = {"operation": "image_inpaint", "init_image": text_of(image), "mask_image": text_of(mask)}
        done = wait_for_status(shared(), submit(shared(), {**BODY, **fields, **options}), "completed")
        drawn, warnings = picture(done["result"]["image"]), done["result"]["warnings"]
    expected = pollen().generate("a robot", image=image, mask_image=mask, num_inference_steps=3, seed=7, **options)  # type: ignore[arg-type]
    assert np.array_equal(values(drawn), pixels(expected))
    assert drawn.size == (43, 30)
    assert warnings == expected.warnings
    assert "was resized to 64 x 48" in warnings[0]


def test_beyond_a_picture() -> None:
    drawn, warnings = finished("/inpaint", {"image": text_of(noise(40, 24)), "outpaint": [8, 0, 16, 8]})
    assert (drawn.size, warnings) == ((64, 32), [])
    assert np.array_equal(values(drawn)[:24, 8:48], values(noise(40, 24)))


def test_a_size_that_is_fitted_is_told() -> None:
    image = text_of(noise(43, 30))
    drawn, warnings = finished("/img2img", {"image": image})
    assert drawn.size == (40, 24)
    assert warnings == ["the image, 43 x 30, was resized to 40 x 24 to be drawn over"]
    drawn, warnings = finished("/inpaint", {"image": image, "mask": text_of(blob(43, 30)), "keep_unmasked": False})
    assert (drawn.size, len(warnings)) == ((40, 24), 1)
    assert finished("/img2img", {"image": image, "width": 64, "height": 32})[0].size == (64, 32)


def test_photographs_and_transparent_pictures() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert finished("/img2img", {"image": text_of(noise(40, 24), "JPEG", exif=exif)})[0].size == (24, 40)
    clear = noise(16, 16, "RGBA")
    clear.putalpha(0)
    drawn, warnings = finished("/img2img", {"image": text_of(clear)})
    assert warnings == ["image: what is transparent was laid on white"]
    white = finished("/img2img", {"image": text_of(Image.new("RGB", (16, 16), "white"))})[0]
    assert np.array_equal(values(drawn), values(white))


@pytest.mark.parametrize(
    ("path", "change", "field"),
    [
        ("/img2img", {"width": 65}, "width"),
        ("/img2img", {"width": 4096, "height": 4096}, "width"),
        ("/img2img", {"strength": 0.01}, "strength"),
        ("/img2img", {"mask": encoded()}, "mask"),
        ("/img2img", {"image": encoded((7, 64))}, "image"),
        ("/inpaint", {}, "mask"),
        ("/inpaint", {"mask": encoded((64, 63))}, "mask"),
        ("/inpaint", {"mask": encoded(), "mask_blur": -1}, "mask_blur"),
        ("/inpaint", {"mask": encoded(), "mask_blur": 1e9}, "mask_blur"),
        ("/inpaint", {"mask": encoded(), "padding_mask_crop": -1}, "padding_mask_crop"),
        ("/inpaint", {"mask": text_of(Image.new("L", (64, 64))), "padding_mask_crop": 2}, "mask"),
        ("/inpaint", {"outpaint": [0, 0, 0, 0]}, "outpaint"),
        ("/inpaint", {"outpaint": [8, 8, 8]}, "outpaint"),
        ("/inpaint", {"outpaint": [-8, 8, 8, 8]}, "outpaint"),
        ("/inpaint", {"outpaint": [2048, 2048, 8, 8]}, "outpaint"),
        ("/inpaint", {"mask": encoded(), "keep_unmasked": None}, "keep_unmasked"),
    ],
)
def test_what_cannot_be_is_refused_before_it_waits(path: str, change: dict[str, Any], field: str) -> None:
    response = shared().client.post(path, json={**BODY, "image": encoded(), **change})
    assert (response.status_code, response.json()["error"]["field"]) == (422, field), response.text


def test_a_mask_that_blurs_to_black_ends_the_job() -> None:
    mask = Image.new("L", (64, 64))
    mask.putpixel((30, 30), 1)
    body = {**BODY, "image": encoded(), "mask": text_of(mask), "mask_blur": 8, "padding_mask_crop": 2}
    (end,) = [event for event in draw(shared(), body, "/inpaint") if event.name == "error"]
    assert (end.data["code"], end.data["field"]) == ("INVALID_REQUEST", "mask")


def test_a_key_knows_its_pictures_after_they_were_let_go() -> None:
    worker, first = shared(), text_of(noise(16, 16))
    fields = {**BODY, "operation": "image_transform", "input_image": first}
    headers = {"idempotency-key": "drawn-over"}
    job = submit(worker, fields, headers)
    wait_for_status(worker, job, "completed")
    assert submit(worker, fields, headers) == job
    other = {**fields, "input_image": text_of(noise(16, 16, seed=6)), "hive_id": "h", "model": "pollen"}
    response = worker.client.post("/v1/jobs", json=other, headers=headers)
    assert response.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


def test_pictures_wait_as_files_and_go_with_their_job() -> None:
    kept = InputImage.of_file("image", file_of(noise(64, 64)), formats=("PNG",), max_pixels=4096)
    order = Order(GenerationSpec.of("", image=kept))
    assert order.without_pixels() == order
    assert order.without_pixels().spec.image is not kept
    with busy(shared()):
        job = submit(shared(), {**BODY, "operation": "image_transform", "input_image": text_of(noise(40, 24))})
        assert shared().client.get(f"/v1/jobs/{job}").json()["status"] == "queued"
    assert wait_for_status(shared(), job, "completed", "failed")["status"] == "completed"


def test_estimates_count_the_steps_that_are_taken() -> None:
    pipeline = Pipeline.load()

    def work(**parameters: Any) -> float:  # noqa: ANN401 - of all kinds
        return amount_of_work(GenerationSpec.of("", num_inference_steps=10, **parameters), pipeline)

    image = noise(128, 128)
    assert work() == work(image=image, strength=1.0) == 2 * work(image=image, strength=0.5)
    assert work(image=image, width=64) == work() / 2


def test_a_model_that_only_inpaints_says_501_to_the_rest(tmp_path: Path) -> None:
    with serving("--model", write_tiny_model(tmp_path / "model", 9)) as worker:
        assert worker.client.get("/info").json()["operations"] == ["image_inpaint"]
        for path, body in (("/execute", {}), ("/img2img", {"image": encoded()})):
            error = worker.client.post(path, json={**BODY, **body}).json()["error"]
            assert error["code"] == "UNSUPPORTED_OPERATION"
            assert "it does inpaint" in error["message"]
        body = {**BODY, "image": encoded(), "mask": text_of(blob(64, 64))}
        assert worker.client.post("/inpaint", json=body, headers=JSON).status_code == 200


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.tuples(st.integers(8, 64), st.integers(8, 64)), st.sampled_from(["PNG", "JPEG", "WEBP"]), st.floats(0.34, 1))
def test_any_picture_is_drawn_over(size: tuple[int, int], format: str, strength: float) -> None:
    drawn, _ = finished("/img2img", {"image": text_of(noise(*size), format), "strength": strength})
    assert drawn.size == (size[0] - size[0] % 8, size[1] - size[1] % 8)
