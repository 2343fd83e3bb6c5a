"""What a running generation says, and how it is stopped."""

import asyncio
import contextlib
import itertools
import threading
import time

import numpy as np
import pytest

from sd_rbee import Cancelled, CancelToken, Complete, InferenceError, InvalidParamsError, Progress, Started, Step
from sd_rbee.events import Event
from support import PHASES, endless, pixels, pollen, small


def record(step: Step) -> Progress:
    return Progress.of(step)


def check_order(steps: list[Progress], images: int, sampling_steps: int) -> None:
    assert [phase for phase, _ in itertools.groupby(step.phase for step in steps)] == PHASES
    totals = {"encode": 1, "prepare": 1, "denoise": images * sampling_steps, "decode": images}
    for phase, total in totals.items():
        units = [step for step in steps if step.phase == phase]
        assert [(step.step, step.total) for step in units] == [(number, total) for number in range(1, total + 1)]
        each = total // images if total > 1 else 1
        assert [step.image for step in units] == [number // each for number in range(total)]
    elapsed = [step.elapsed for step in steps]
    assert elapsed[0] > 0
    assert elapsed == sorted(elapsed)
    for step in steps:
        if step.phase in ("encode", "prepare"):
            assert step.eta is None
        else:
            assert step.eta is not None
            assert 0 <= step.eta < 60
    assert steps[-1].eta == 0


@pytest.mark.parametrize("images", [1, 3])
def test_steps_come_in_order(images: int) -> None:
    steps: list[Progress] = []
    threads = set()

    def on_step(step: Step) -> None:
        steps.append(record(step))
        threads.add(threading.current_thread())

    pollen().generate("a robot", **small(num_images_per_prompt=images), on_step=on_step)
    check_order(steps, images, 2)
    assert threads == {threading.current_thread()}


def test_a_stream_tells_the_same_and_gives_the_same() -> None:
    events = list(pollen().stream("a robot", **small(num_images_per_prompt=2)))
    assert events[0] == Started(2)
    check_order([event for event in events if isinstance(event, Progress)], 2, 2)
    last = events[-1]
    assert isinstance(last, Complete)
    assert [type(event) for event in events].count(Complete) == 1
    plain = pollen().generate("a robot", **small(num_images_per_prompt=2))
    assert all(np.array_equal(pixels(last.result, index), pixels(plain, index)) for index in range(2))
    assert last.result.parameters == plain.parameters


def generating() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sd-rbee-generation"]


@pytest.mark.parametrize("after", [1, 2, 6])
def test_closing_a_stream_cancels(after: int) -> None:
    stream = pollen().stream("a robot", **endless())
    for _ in range(after):
        next(stream)
    assert len(generating()) == 1
    begun = time.monotonic()
    stream.close()
    assert generating() == []
    assert time.monotonic() - begun < 2
    assert pollen().generate("a robot", **small()).seeds == [7]


def test_leaving_a_loop_cancels() -> None:
    for event in pollen().stream("a robot", **endless()):
        if isinstance(event, Progress) and event.phase == "denoise":
            break
    assert generating() == []


def test_a_stream_that_nobody_reads_never_starts() -> None:
    pollen().stream("a robot", **endless()).close()
    assert generating() == []


def test_a_stream_raises_what_went_wrong() -> None:
    with pytest.raises(InvalidParamsError, match="num_inference_steps"):
        pollen().stream("a robot", num_inference_steps=0)
    stream = pollen().stream("a robot", **small(height=100))
    assert next(stream) == Started(1)
    with pytest.raises(InvalidParamsError, match="nearest is 104"):
        next(stream)
    token = CancelToken()
    stream = pollen().stream("a robot", cancel=token, **endless())
    next(stream)
    token.cancel()
    with pytest.raises(Cancelled):
        list(stream)


def test_astream_leaves_the_loop_free() -> None:
    async def main() -> tuple[list[Event], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        events = [event async for event in pollen().astream("a robot", **small(num_inference_steps=10))]
        ticking.cancel()
        return events, ticks

    events, ticks = asyncio.run(main())
    assert events[0] == Started(1)
    check_order([event for event in events if isinstance(event, Progress)], 1, 10)
    assert isinstance(events[-1], Complete)
    assert ticks > 100


def test_astream_stops_when_closed_or_cancelled() -> None:
    async def close() -> None:
        stream = pollen().astream("a robot", **endless())
        for _ in range(5):
            await anext(stream)
        await stream.aclose()
        assert generating() == []

    async def cancel_task() -> None:
        async def read() -> None:
            async for _ in pollen().astream("a robot", **endless()):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert generating() == []

    async def fail() -> None:
        with pytest.raises(InvalidParamsError, match="nearest is 104"):
            async for _ in pollen().astream("a robot", **small(width=100)):
                pass

    for case in (close, cancel_task, fail):
        begun = time.monotonic()
        asyncio.run(case())
        assert time.monotonic() - begun < 3


def test_another_thread_cancels_within_a_step() -> None:
    token, steps, heard = CancelToken(), [], threading.Event()

    def on_step(step: Step) -> None:
        steps.append(step.phase)
        if steps.count("denoise") == 3:
            canceller = threading.Thread(target=token.cancel)
            canceller.start()
            canceller.join()
            heard.set()

    with pytest.raises(Cancelled):
        pollen().generate("a robot", **endless(), on_step=on_step, cancel=token)
    assert heard.is_set()
    assert token.cancelled
    assert steps == ["encode", "prepare", "denoise", "denoise", "denoise"]


def test_a_cancelled_token_stops_at_once() -> None:
    token, steps = CancelToken(), list[Step]()
    assert not token.cancelled
    token.cancel()
    with pytest.raises(Cancelled):
        pollen().generate("a robot", **endless(), on_step=steps.append, cancel=token)
    assert steps == []
    assert pollen().generate("a robot", **small()).seeds == [7]


@pytest.mark.parametrize("phase", PHASES)
def test_what_on_step_raises_ends_the_generation(phase: str) -> None:
    trouble, steps = KeyError("mine"), []

    def on_step(step: Step) -> None:
        steps.append(step.phase)
        if step.phase == phase:
            raise trouble

    with pytest.raises(KeyError) as caught:
        pollen().generate("a robot", **small(), on_step=on_step)
    assert caught.value is trouble
    whole = ["encode", "prepare", "denoise", "denoise", "decode"]
    assert steps == whole[: whole.index(phase) + 1]
    assert pollen().generate("a robot", **small()).seeds == [7]


def test_on_step_cannot_draw_with_its_own_pipeline() -> None:
    def on_step(_: Step) -> None:
        pollen().generate("an owl", **small())

    with pytest.raises(InferenceError, match="wait for itself"):
        pollen().generate("a robot", **small(), on_step=on_step)
    assert pollen().generate("a robot", **small()).seeds == [7]


def test_python_goes_on_while_the_engine_computes() -> None:
    count, over = 0, threading.Event()

    def work() -> None:
        nonlocal count
        while not over.is_set():
            count += 1

    thread = threading.Thread(target=work)
    thread.start()
    before = count
    # No step is told while one step of a picture of this size is computed.
    pollen().generate("a robot", num_inference_steps=1, height=256, width=256)
    counted = count - before
    over.set()
    thread.join()
    assert counted > 1000


def test_two_threads_may_draw_at_once() -> None:
    alone = [pollen().generate("a robot", **small(seed=seed, num_inference_steps=8)) for seed in range(4)]
    drawn: dict[int, object] = {}

    def draw(seed: int) -> None:
        drawn[seed] = pixels(pollen().generate("a robot", **small(seed=seed, num_inference_steps=8)))

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(np.asarray(drawn[seed]), pixels(alone[seed])) for seed in range(4))


def test_a_waiting_generation_can_be_cancelled() -> None:
    token = CancelToken()
    with contextlib.closing(pollen().stream("a robot", **endless())) as stream:
        # `Started`, and then the first unit of work, so that the engine is taken.
        next(stream), next(stream)
        threading.Timer(0.1, token.cancel).start()
        with pytest.raises(Cancelled):
            pollen().generate("a robot", **small(), cancel=token)
