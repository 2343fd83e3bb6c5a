"""The text that AUTOMATIC1111's webui reads, and our JSON, there and back."""

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from sd_rbee import images
from sd_rbee.metadata import recipe, to_infotext, to_json
from support import pollen, small

NEGATIVE = "Negative prompt:"
PARAMETERS: dict[str, Any] = {
    "prompt": "a robot",
    "negative_prompt": None,
    "width": 24,
    "height": 16,
    "num_inference_steps": 20,
    "guidance_scale": 3.5,
    "guidance_rescale": 0.0,
    "scheduler": "ddim",
    "eta": 0.0,
    "timestep_spacing": None,
    "use_karras_sigmas": None,
    "use_exponential_sigmas": None,
    "use_beta_sigmas": None,
    "rescale_betas_zero_snr": None,
    "guidance_start": 0.0,
    "guidance_end": 1.0,
    "deepcache_interval": 1,
    "deepcache_branch": 0,
    "clip_skip": None,
    "prompt_syntax": "plain",
    "vae_tiling": False,
    "model": "pollen",
    "vae": None,
    "engine": "native",
    "device": "cpu",
    "dtype": "f32",
    "version": "0.1.0",
}


def parse(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and settings, by the webui's rules: the last line has the settings, values that hold a
    comma, a colon or a line break are JSON strings, and a line's outer space is nothing.
    """
    *lines, last = (line.strip() for line in text.strip().split("\n"))
    cut = next((index for index, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    positive, negative = "\n".join(lines[:cut]), "\n".join(lines[cut:]).removeprefix(NEGATIVE).strip()
    found: dict[str, str] = {}
    while last:
        key, _, rest = last.partition(": ")
        if rest.startswith('"'):
            found[key], end = json.JSONDecoder().raw_decode(rest)
            last = rest[end:].removeprefix(",").lstrip()
        else:
            found[key], _, last = rest.partition(",")
            last = last.lstrip()
    return positive, negative, found


def drawn_with(seed: int = 7, **changes: object) -> dict[str, Any]:
    return recipe({**PARAMETERS, **changes}, seed=seed, image=0)


def test_the_text_as_it_is_written() -> None:
    assert to_infotext(drawn_with()) == (
        "a robot\n"
        "Steps: 20, Sampler: DDIM, CFG scale: 3.5, Seed: 7, Size: 24x16, Model: pollen, RNG: CPU, "
        "Version: sd-rbee 0.1.0"
    )
    text = to_infotext(
        drawn_with(
            negative_prompt="blue",
            scheduler="dpm++-2m",
            use_karras_sigmas=True,
            guidance_scale=7.0,
            eta=0.25,
            guidance_start=0.25,
            guidance_end=0.75,
            deepcache_interval=3,
            deepcache_branch=2,
            vae="taesd",
            model='mine, "v2": best',
        )
    )
    assert text == (
        "a robot\nNegative prompt: blue\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 7, Size: 24x16, "
        'Model: "mine, \\"v2\\": best", VAE: taesd, Eta: 0.25, Skip Early CFG: 0.25, Guidance end: 0.75, '
        "DeepCache interval: 3, DeepCache branch: 2, RNG: CPU, Version: sd-rbee 0.1.0"
    )


@pytest.mark.parametrize(
    ("scheduler", "sampler"), [("ddim", "DDIM"), ("euler", "Euler"), ("euler-ancestral", "Euler a"), ("new", "new")]
)
def test_samplers_go_by_the_webuis_names(scheduler: str, sampler: str) -> None:
    assert parse(to_infotext(drawn_with(scheduler=scheduler)))[2]["Sampler"] == sampler


@pytest.mark.parametrize("sigmas", ["karras", "exponential", "beta"])
def test_sigmas_go_by_the_webuis_names(sigmas: str) -> None:
    settings = parse(to_infotext(drawn_with(scheduler="euler", **{f"use_{sigmas}_sigmas": True})))[2]
    assert settings["Schedule type"] == sigmas.capitalize()


def lines_of(text: str) -> str:
    """What the webui keeps of a prompt: no space around it, nor around its lines."""
    return "\n".join(line.strip() for line in text.strip().split("\n"))


# The form has no way to write a prompt with a line that begins as the negative prompt's.
prompts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60).filter(
    lambda text: not any(line.strip().startswith(NEGATIVE) for line in text.split("\n"))
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    prompt=prompts,
    negative=prompts,
    model=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30),
    guidance=st.floats(0, 1000),
    seed=st.integers(0, 2**64 - 1),
)
def test_the_webui_reads_what_was_written(prompt: str, negative: str, model: str, guidance: float, seed: int) -> None:
    made = drawn_with(seed=seed, prompt=prompt, negative_prompt=negative, model=model, guidance_scale=guidance)
    read_prompt, read_negative, read = parse(to_infotext(made))
    assert read_prompt == lines_of(prompt)
    assert read_negative == lines_of(negative)
    assert (read["Steps"], read["Seed"], read["Size"]) == ("20", str(seed), "24x16")
    assert float(read["CFG scale"]) == guidance
    assert read["Model"].strip() == model.strip()
    assert json.loads(to_json(made)) == made


def test_nul_is_in_no_text() -> None:
    assert to_infotext(drawn_with(prompt="a\0b")).startswith("a\ufffdb\n")
    assert json.loads(to_json(drawn_with(prompt="a\0b")))["prompt"] == "a\0b"


PROMPTS = [
    "a robot",
    "",
    "two\nlines, \"quoted\": and 'more' \\ back",
    "ロボット 🤖 צב עم",
    "\x01\x7f\x85\u2028\ufeff",
    "Steps: 3, Sampler: x, Seed: 1",
    "🤖" * 60_000,
]


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
@pytest.mark.filterwarnings("ignore::sd_rbee.TruncatedPromptWarning")
def test_pictures_carry_any_prompt(prompt: str) -> None:
    result = pollen().generate(prompt, **small(num_inference_steps=1, negative_prompt=prompt))
    expected = to_infotext(recipe(result.parameters, seed=7, image=0))
    with Image.open(io.BytesIO(images.encode(result.images[0], "PNG"))) as picture:
        picture.load()
        assert picture.info["parameters"] == expected
        assert json.loads(picture.info["sd-rbee"])["prompt"] == prompt
    for kind in ("JPEG", "WEBP"):
        with Image.open(io.BytesIO(images.encode(result.images[0], kind))) as picture:
            comment = picture.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
        text = comment.removeprefix(b"UNICODE\0").decode("utf-16-be")
        if kind == "WEBP" or len(prompt) < 1000:
            assert text == expected
        else:
            # A JPEG has room for 64 KB of it: the settings are whole, the prompt is cut where it can be seen.
            assert text.endswith("🤖…\n" + expected.rpartition("\n")[2])
            assert 60_000 < len(comment) < 65_533
