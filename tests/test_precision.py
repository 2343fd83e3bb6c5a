"""What narrower numbers change, and instruction sets."""

import numpy as np
import pytest

from fidelity import BF16_PSNR, INT8_PSNR
from sd_rbee import Pipeline
from sd_rbee.backend import native
from sd_rbee.verify import verify
from support import cli, pixels, run
from tools.metrics import psnr

PROMPTS = ("a robot", "a red apple", "an owl", "a guitar", "a penguin on a yellow background", "a house")


@pytest.fixture(scope="module")
def pipes() -> dict[str, Pipeline]:
    return {dtype: Pipeline.load(device="cpu", dtype=dtype) for dtype in ("f32", "bf16", "int8")}


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++-2m"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_narrow_numbers_draw_what_f32_does(prompt: str, scheduler: str, pipes: dict[str, Pipeline]) -> None:
    f32, bf16, int8 = (pixels(pipe.generate(prompt, seed=7, scheduler=scheduler)) for pipe in pipes.values())
    assert not np.array_equal(f32, bf16)
    assert not np.array_equal(bf16, int8)
    assert psnr(bf16, f32) >= BF16_PSNR
    assert psnr(int8, f32) >= INT8_PSNR


def test_auto_takes_f32_for_a_narrow_model() -> None:
    assert Pipeline.load(device="cpu").dtype == "f32"


def test_narrow_numbers_take_less_memory(pipes: dict[str, Pipeline]) -> None:
    held = {dtype: sum(part.bytes for part in pipe.residency) for dtype, pipe in pipes.items()}
    assert held["bf16"] < 0.6 * held["f32"]
    assert {(part.dtype, part.storage) for part in pipes["bf16"].residency} == {("bf16", "packed")}
    of_int8 = {part.component: part.dtype for part in pipes["int8"].residency}
    assert of_int8["unet"] == "int8"
    floats = of_int8["vae"]
    assert floats == of_int8["text_encoder"] != "int8"
    assert held["int8"] < held[floats]


def test_bf16_is_verified_against_f32() -> None:
    checks = list(verify(device="cpu", dtype="bf16"))
    assert all(check.passed for check in checks)
    # What rounds to 8 bits shows, and a tolerance that would let anything pass is none.
    assert all(check.relative_rms > 1e-4 for check in checks if check.part == "unet")
    assert all(check.tolerance < 0.05 for check in checks)


def test_every_instruction_set_draws_the_same_picture() -> None:
    script = """
import sys, sd_rbee
pipe = sd_rbee.Pipeline.load(device="cpu", dtype="f32")
sys.stdout.write(bytes(pipe.generate("a robot", seed=7).pixels[0]).hex())
"""
    sets = native.instruction_sets()
    assert native.instruction_set() in sets
    drawn = {
        name: np.frombuffer(bytes.fromhex(run("-c", script, env={"SD_RBEE_CPU": name}).stdout), np.uint8)
        for name in sets
    }
    for name, picture in drawn.items():
        assert psnr(picture, drawn[sets[0]]) >= 60, name


@pytest.mark.parametrize("name", [name for name in native.instruction_sets() if name != native.instruction_set()])
def test_every_instruction_set_is_as_near_to_the_reference(name: str, request: pytest.FixtureRequest) -> None:
    goldens = request.config.rootpath / "tests" / "test_network_goldens.py"
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", goldens, env={"SD_RBEE_CPU": name})
    assert done.returncode == 0, done.stdout


def test_the_environment_chooses_the_instruction_set() -> None:
    for name in native.instruction_sets():
        done = run(
            "-c", "from sd_rbee.backend import native; print(native.instruction_set())", env={"SD_RBEE_CPU": name}
        )
        assert done.stdout == f"{name}\n"


def test_an_unknown_instruction_set_is_one_line() -> None:
    for command in (["generate", "a robot", "-o", "-"], ["info"], ["verify"]):
        done = cli(*command, env={"SD_RBEE_CPU": "avx1024"})
        assert (done.returncode, done.stdout) == (2, "")
        names = ", ".join(native.instruction_sets())
        assert done.stderr == f"sd-rbee: SD_RBEE_CPU: got avx1024, allowed is {names} on this machine\n"
