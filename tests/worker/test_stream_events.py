"""What a stream tells: numbers, previews, replays; and the headers that a submission has."""

import time

import pytest
from clients import Event, draw, job_events, picture, stream, submit, wait_for_status
from serving import LONG, SMALL, idle, shared


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def test_events_are_numbered_and_come_in_order() -> None:
    events = draw(shared(), SMALL)
    assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
    order = ["queued", "started", "phase", "phase", "progress", "progress", "phase", "complete"]
    assert names(events) == order
    assert [event.data["phase"] for event in events if event.name == "phase"] == ["encode", "prepare", "decode"]
    etas = [event.data["eta_seconds"] for event in events if event.name == "progress"]
    assert all(eta >= 0 for eta in etas)
    elapsed = [event.data["elapsed_ms"] for event in events if "elapsed_ms" in event.data]
    assert elapsed == sorted(elapsed)


@pytest.mark.parametrize(("kind", "size"), [("latents", (8, 8)), ("decode", (64, 64))])
def test_previews_come_as_often_as_asked_and_change_nothing(kind: str, size: tuple[int, int]) -> None:
    body = {**SMALL, "steps": 5}
    events = draw(shared(), {**body, "preview_every": 2, "preview": kind})
    previews = [event.data for event in events if event.name == "preview"]
    assert [preview["step"] for preview in previews] == [2, 4]
    for preview in previews:
        assert (preview["type"], preview["format"], preview["total_steps"]) == ("preview", "png", 5)
        assert picture(preview["image"]).size == size
    assert names(events).count("progress") == 5
    plain = draw(shared(), body)
    assert "preview" not in names(plain)
    assert events[-1].data["image"] == plain[-1].data["image"]


def test_a_stream_goes_on_behind_the_event_that_was_seen_last() -> None:
    worker = shared()
    job_id = submit(worker, {**SMALL, "steps": 3})
    whole, marker = job_events(worker, job_id)
    for last in (0, 1, 4, len(whole) - 1):
        rest, again = job_events(worker, job_id, last)
        assert [(event.id, event.data) for event in rest] == [(event.id, event.data) for event in whole[last:]]
        assert again == marker == "[DONE]"
    assert job_events(worker, job_id, len(whole)) == ([], "[DONE]")


def test_of_previews_a_late_reader_gets_the_newest_alone() -> None:
    worker = shared()
    job_id = submit(worker, {**SMALL, "steps": 4, "preview_every": 1})
    wait_for_status(worker, job_id, "completed")
    events, _ = job_events(worker, job_id)
    assert [event.data["step"] for event in events if event.name == "preview"] == [4]


def test_the_same_key_is_the_same_job_and_another_request_is_409() -> None:
    worker, key = shared(), {"idempotency-key": "a key of one's own"}
    job_id = submit(worker, SMALL, key)
    assert submit(worker, SMALL, key) == job_id
    wait_for_status(worker, job_id, "completed")
    assert submit(worker, SMALL, key) == job_id
    response = worker.client.post("/v1/jobs", json={"operation": "image_generation", "prompt": "an owl"}, headers=key)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    with stream(worker, SMALL, headers=key) as events:
        assert next(events).data["job_id"] == job_id


def test_a_key_whose_job_was_cancelled_is_free_again() -> None:
    worker, key = shared(), {"idempotency-key": "another"}
    job_id = submit(worker, LONG, key)
    worker.client.delete(f"/v1/jobs/{job_id}")
    wait_for_status(worker, job_id, "cancelled")
    again = submit(worker, LONG, key)
    assert again != job_id
    worker.client.delete(f"/v1/jobs/{again}")
    idle(worker)


def test_a_deadline_refuses_before_and_ends_within() -> None:
    worker = shared()
    past = worker.client.post("/execute", json=SMALL, headers={"x-deadline": "1"})
    assert (past.status_code, past.json()["error"]["code"]) == (408, "INFERENCE_TIMEOUT")
    soon = {"x-deadline": str(round(1000 * (time.time() + 3)))}
    with stream(worker, LONG, headers=soon) as events:
        last = list(events)[-1]
    assert (last.name, last.data["code"], last.data["retriable"]) == ("error", "INFERENCE_TIMEOUT", True)
    later = {"x-deadline": str(round(1000 * (time.time() + 60)))}
    job = wait_for_status(worker, submit(worker, SMALL, later), "completed", "failed")
    assert job["status"] == "completed"
