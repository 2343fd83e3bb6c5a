"""One seed is one picture on any number of threads, and alone or in a batch, whatever is multiplied."""

import os

import pytest

from sd_rbee import InvalidParamsError, Pipeline
from sd_rbee.backend import native
from sd_rbee.pipeline import MAX_THREADS
from support import POLLEN, cli, run

DTYPES = ("f32", "bf16")


def drawn(dtype: str, threads: int, *, seed: int = 3, count: int = 2) -> list[bytes]:
    """Pictures of an owl."""
    pipe = Pipeline.load(device="cpu", dtype=dtype, num_threads=threads)
    assert (pipe.dtype, pipe.num_threads) == (dtype, threads)
    made = pipe.generate("an owl", seed=seed, num_inference_steps=4, num_images_per_prompt=count, height=136, width=120)
    return [image.tobytes() for image in made.images]


@pytest.fixture(scope="module")
def on_one_thread() -> dict[str, list[bytes]]:
    return {dtype: drawn(dtype, 1) for dtype in DTYPES}


def test_the_pictures_differ(on_one_thread: dict[str, list[bytes]]) -> None:
    assert len({picture for pictures in on_one_thread.values() for picture in pictures}) == 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_bits_are_those_of_one_thread(dtype: str, threads: int, on_one_thread: dict[str, list[bytes]]) -> None:
    assert drawn(dtype, threads) == on_one_thread[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_picture_of_a_batch_has_the_bits_that_it_has_alone(dtype: str, on_one_thread: dict[str, list[bytes]]) -> None:
    assert [drawn(dtype, 2, seed=seed, count=1)[0] for seed in (3, 4)] == on_one_thread[dtype]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (0, "got 0"),
        (-1, "got -1"),
        (MAX_THREADS + 1, f"got {MAX_THREADS + 1}, allowed is an int from 1 to {MAX_THREADS}"),
        (10**30, "got 1000000000000000000000000000000"),
        (True, "got bool True"),
        (2.0, "got float 2.0"),
        ("2", "got str '2'"),
    ],
)
def test_absurd_numbers_are_refused(given: object, says: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        Pipeline.load(num_threads=given)  # type: ignore[arg-type]
    assert caught.value.field == "num_threads"
    assert f"num_threads: {says}" in str(caught.value)


def test_both_halves_have_one_limit() -> None:
    with pytest.raises(InvalidParamsError, match=f"num_threads: got {MAX_THREADS + 1}, allowed is 1 to {MAX_THREADS}"):
        native.Pipeline.load(str(POLLEN), num_threads=MAX_THREADS + 1)


def test_the_environment_has_the_word_where_nobody_else_does() -> None:
    script = "import sd_rbee; print(*(sd_rbee.Pipeline.load(num_threads=n).num_threads for n in (None, 2)))"
    assert run("-c", script, env={"SD_RBEE_THREADS": "3"}).stdout == "3 2\n"
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    default, told = map(int, run("-c", script, env={"SD_RBEE_THREADS": ""}).stdout.split())
    assert 1 <= default <= allowed
    assert told == 2


@pytest.mark.parametrize("given", ["0", "two", "-1", "1025"])
def test_an_absurd_environment_is_an_error(given: str) -> None:
    done = cli("generate", "a robot", "-o", "-", env={"SD_RBEE_THREADS": given})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"sd-rbee: SD_RBEE_THREADS: got {given}, allowed is 1 to 1024\n"
