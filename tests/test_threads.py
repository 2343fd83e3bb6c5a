"""One seed is one picture on any number of threads."""

import hashlib
import os
import subprocess
import sys

import pytest

_DRAW = """
import hashlib, sd_rbee
made = sd_rbee.generate("an owl", seed=3, num_inference_steps=4, num_images_per_prompt=2, height=136, width=120)
print(*(hashlib.sha256(image.tobytes()).hexdigest() for image in made.images))
"""


def _draw(threads: int) -> list[str]:
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", _DRAW], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.fixture(scope="module")
def on_one_thread() -> list[str]:
    return _draw(1)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_bits_are_those_of_one_thread(threads: int, on_one_thread: list[str]) -> None:
    assert len(set(on_one_thread)) == 2
    assert all(len(digest) == 2 * hashlib.sha256().digest_size for digest in on_one_thread)
    assert _draw(threads) == on_one_thread
