"""The exception tree, and bad parameters."""

import decimal
import fractions
import math
from collections.abc import Callable

import pytest

import sd_rbee
from sd_rbee import InvalidParamsError, Pipeline, errors
from sd_rbee.spec import MAX_IMAGES
from support import pollen, small

TREE = {
    "SdRbeeError": Exception,
    "ModelNotFoundError": sd_rbee.SdRbeeError,
    "DownloadError": sd_rbee.ModelNotFoundError,
    "CheckpointError": sd_rbee.SdRbeeError,
    "InvalidParamsError": sd_rbee.SdRbeeError,
    "DeviceError": sd_rbee.SdRbeeError,
    "OutOfMemoryError": sd_rbee.DeviceError,
    "HiveError": sd_rbee.SdRbeeError,
    "InferenceError": sd_rbee.SdRbeeError,
    "Cancelled": sd_rbee.SdRbeeError,
    "TruncatedPromptWarning": UserWarning,
    "IneffectiveParameterWarning": UserWarning,
    "ChangedImageWarning": UserWarning,
}


def test_the_tree_is_as_it_is_drawn() -> None:
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    assert {name: cls.__bases__[0] for name, cls in classes.items()} == TREE
    assert issubclass(InvalidParamsError, ValueError)
    for name in TREE:
        assert getattr(sd_rbee, name) is classes[name]
        assert f" {name} " in f"{errors.__doc__}".replace("\n", " ")


def test_an_invalid_parameter_says_all() -> None:
    error = InvalidParamsError("seed", "-1", "an int")
    assert (error.field, error.given, error.allowed) == ("seed", "-1", "an int")
    assert str(error) == "seed: got -1, allowed is an int"


class Odd:
    """What no message can be made of."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __index__(self) -> int:
        raise RuntimeError("no number")


BAD: list[tuple[str, object, str]] = [
    ("prompt", None, "NoneType None, allowed is one str"),
    ("prompt", b"a robot", "bytes b'a robot', allowed is one str"),
    ("prompt", ["a robot"], "list ['a robot'], allowed is one str"),
    ("prompt", "a \ud800 robot", "a lone surrogate at 2, allowed is text that UTF-8 can hold"),
    ("prompt", "a" * 10_000_000, "10000000 bytes, allowed is at most 262144 bytes"),
    ("prompt", "\N{ROBOT FACE}" * 70_000, "280000 bytes, allowed is at most 262144 bytes"),
    ("prompt", Odd(), "Odd <Odd instance at "),
    ("negative_prompt", 1, "int 1, allowed is one str"),
    ("negative_prompt", "\udfff", "a lone surrogate at 0"),
    ("negative_prompt", "a" * 10_000_000, "10000000 bytes, allowed is at most 262144 bytes"),
    ("height", 0, "0, allowed is an int from 1"),
    ("height", -8, "-8, allowed is an int from 1"),
    ("height", 100, "100, allowed is a multiple of 8 in 8 to 4096; the nearest is 104"),
    ("height", 10**6, "1000000, allowed is a multiple of 8 in 8 to 4096; the nearest is 4096"),
    ("height", 10**5000, "an int of 16610 bits, allowed is an int"),
    ("height", True, "bool True, allowed is an int"),
    ("height", 64.0, "float 64.0, allowed is an int"),
    ("height", "64", "str '64', allowed is an int"),
    ("height", Odd(), "Odd <Odd instance at "),
    ("width", 0, "0, allowed is an int from 1"),
    ("width", 1, "1, allowed is a multiple of 8 in 8 to 4096; the nearest is 8"),
    ("width", 10**6, "the nearest is 4096"),
    ("width", 99, "the nearest is 96"),
    ("num_inference_steps", 0, "0, allowed is an int from 1"),
    ("num_inference_steps", -1, "-1, allowed is an int from 1"),
    ("num_inference_steps", 1001, "1001, allowed is 1 to 1000"),
    ("num_inference_steps", 10**9, "1000000000, allowed is 1 to 1000"),
    ("num_inference_steps", 2**64, "18446744073709551616, allowed is an int from 1"),
    ("num_inference_steps", True, "bool True"),
    ("guidance_scale", math.nan, "nan, allowed is a finite number"),
    ("guidance_scale", math.inf, "inf, allowed is a finite number"),
    ("guidance_scale", -math.inf, "-inf, allowed is a finite number"),
    ("guidance_scale", 10**400, "an int of 1329 bits, allowed is a finite number"),
    ("guidance_scale", fractions.Fraction(10**5000, 3), "allowed is a finite number"),
    ("guidance_scale", -0.1, "-0.1, allowed is a number in 0 to 1000"),
    ("guidance_scale", 1e9, "1000000000, allowed is a number in 0 to 1000"),
    ("guidance_scale", False, "bool False, allowed is a finite number"),
    ("guidance_scale", "7.5", "str '7.5', allowed is a finite number"),
    ("guidance_scale", decimal.Decimal("7.5"), "Decimal Decimal('7.5'), allowed is a finite number"),
    ("num_images_per_prompt", 0, "0, allowed is an int from 1 to 128"),
    ("num_images_per_prompt", None, "NoneType None, allowed is an int from 1 to 128"),
    ("num_images_per_prompt", 10**9, "1000000000, allowed is an int from 1 to 128"),
    ("seed", -1, "-1, allowed is an int from 0 to 18446744073709551615"),
    ("seed", 2**64, "18446744073709551616, allowed is an int from 0 to 18446744073709551615"),
    ("seed", False, "bool False"),
    ("seed", "7", "str '7'"),
    ("scheduler", "k_lms", "k_lms, allowed is ddim, ddpm, euler, euler-ancestral, heun, lms, pndm, dpm++-2m"),
    ("scheduler", "", "allowed is ddim"),
    ("scheduler", "DDIM", "allowed is ddim"),
    ("scheduler", 1, "int 1, allowed is one str"),
    ("scheduler", "x" * 10_000, f"{'x' * 80}…, allowed is ddim"),
    ("eta", 1.5, "1.5, allowed is 0 to 1"),
    ("eta", -0.5, "-0.5, allowed is 0 to 1"),
    ("eta", math.nan, "nan, allowed is a finite number"),
    ("eta", None, "NoneType None, allowed is a finite number"),
    ("timestep_spacing", "even", "allowed is leading, trailing, linspace"),
    ("timestep_spacing", 2, "int 2, allowed is one str"),
    ("use_karras_sigmas", 1, "int 1, allowed is True, False or None"),
    ("use_karras_sigmas", True, "true, allowed is false with ddim; true is for euler, heun, lms, dpm++-2m"),
    ("use_exponential_sigmas", True, "true, allowed is false with ddim"),
    ("use_beta_sigmas", "yes", "str 'yes', allowed is True, False or None"),
    ("rescale_betas_zero_snr", 0, "int 0, allowed is True, False or None"),
    ("guidance_rescale", 1.5, "1.5, allowed is a number in 0 to 1"),
    ("guidance_rescale", None, "NoneType None, allowed is a finite number"),
    ("guidance_start", -0.1, "-0.1, allowed is a number from 0 to below 1"),
    ("guidance_start", 1, "1, allowed is a number from 0 to below 1"),
    ("guidance_start", None, "NoneType None, allowed is a finite number"),
    ("guidance_end", 0.0, "0, allowed is a number above guidance_start, 0, up to 1"),
    ("guidance_end", 1.5, "1.5, allowed is a number above guidance_start, 0, up to 1"),
    ("guidance_end", math.nan, "nan, allowed is a finite number"),
    ("deepcache_interval", 0, "0, allowed is an int from 1"),
    ("deepcache_interval", 2.0, "float 2.0, allowed is an int"),
    ("clip_skip", -1, "-1, allowed is an int from 0"),
    ("clip_skip", 99, "99, allowed is none, or 0 to"),
    ("prompt_syntax", "webui", "webui, allowed is plain or a1111"),
    ("prompt_syntax", None, "NoneType None, allowed is one str"),
    ("vae_tiling", 1, "int 1, allowed is True, False or None"),
    ("deepcache_branch", -1, "-1, allowed is an int from 0"),
    ("deepcache_branch", 6, "6, allowed is 0 to 5 for this model"),
    ("on_step", 3, "3, allowed is a callable of one argument, or None"),
    ("cancel", 3, "3, allowed is a CancelToken, or None"),
]


@pytest.mark.parametrize(("field", "value", "says"), BAD, ids=[f"{case[0]}-{index}" for index, case in enumerate(BAD)])
@pytest.mark.parametrize("draw", [sd_rbee.generate, pollen().generate], ids=["generate", "Pipeline.generate"])
def test_a_bad_parameter_is_named(draw: Callable[..., object], field: str, value: object, says: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        draw(**{"prompt": "a robot", **small(), field: value})
    assert caught.value.field == field
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.filterwarnings("ignore::sd_rbee.IneffectiveParameterWarning")
def test_a_long_negative_prompt_is_refused_without_guidance_too() -> None:
    with pytest.raises(InvalidParamsError, match=r"^negative_prompt: got 10000000 bytes"):
        pollen().generate("a robot", **small(negative_prompt="a" * 10_000_000, guidance_scale=1))


def test_the_engines_limit_of_pictures_is_ours() -> None:
    native = pollen().native_pipeline
    with pytest.raises(InvalidParamsError, match=f"allowed is 1 to {MAX_IMAGES}$"):
        native.generate("a robot", num_images_per_prompt=MAX_IMAGES + 1)


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (
            {"device": "gpu"},
            InvalidParamsError,
            "device: got gpu, allowed is auto, cpu, cuda, ",
        ),
        ({"device": "cuda:-1"}, InvalidParamsError, "device: got cuda:-1"),
        ({"device": None}, InvalidParamsError, "device: got NoneType None, allowed is one str"),
        ({"device": "cuda:15"}, sd_rbee.DeviceError, "cuda"),
        ({"device": "metal:15"}, sd_rbee.DeviceError, "metal"),
        ({"dtype": "float16"}, InvalidParamsError, "dtype: got float16, allowed is auto, f32, f16, bf16 or int8"),
        (
            {"dtype": "f16", "device": "cpu"},
            InvalidParamsError,
            "dtype: got f16, allowed is auto, f32, bf16 or int8 on the CPU",
        ),
        (
            {"dtype": "bf16", "device": "cpu", "engine": "candle"},
            InvalidParamsError,
            "dtype: got bf16, allowed is f32 for the engine candle on the CPU",
        ),
        ({"num_threads": 0}, InvalidParamsError, "num_threads: got 0, allowed is an int from 1 to 1024"),
        ({"dtype": 32}, InvalidParamsError, "dtype: got int 32"),
        ({"engine": "torch"}, InvalidParamsError, "engine: got torch, allowed is native or candle"),
        ({"engine": "\ud800"}, InvalidParamsError, "engine: got a lone surrogate"),
        (
            {"path_or_alias": None},
            InvalidParamsError,
            "model: got NoneType, allowed is an alias, a path or an id of the hub",
        ),
        ({"path_or_alias": b"pollen"}, InvalidParamsError, "model: got bytes"),
        ({"path_or_alias": ""}, sd_rbee.ModelNotFoundError, "no model ''"),
        (
            {"path_or_alias": "no/such"},
            sd_rbee.DownloadError,
            "no/such is no path, and of the hub: no/such is not at hand, and HF_HUB_OFFLINE forbids",
        ),
        (
            {"path_or_alias": "no-such"},
            sd_rbee.ModelNotFoundError,
            "'no-such': not an alias (at hand: pollen) and not an existing path, nor owner/name of the hub or one of",
        ),
        ({"path_or_alias": "~nobody-at-all/x"}, sd_rbee.ModelNotFoundError, "no model '~nobody-at-all/x'"),
        ({"path_or_alias": "a\0b"}, sd_rbee.ModelNotFoundError, "no model 'a\\x00b'"),
        ({"path_or_alias": "\ud800"}, sd_rbee.ModelNotFoundError, "no model"),
        ({"path_or_alias": "x" * 100_000}, sd_rbee.ModelNotFoundError, "x…'"),
        ({"path_or_alias": __file__}, sd_rbee.CheckpointError, "tests/test_errors.py: is not a safetensors file"),
        ({"path_or_alias": "/"}, sd_rbee.ModelNotFoundError, "it has no model_index.json"),
    ],
    ids=lambda case: "-".join(case) if isinstance(case, dict) else "",
)
def test_what_cannot_be_loaded(arguments: dict[str, str], kind: type[sd_rbee.SdRbeeError], says: str) -> None:
    with pytest.raises(kind) as caught:
        Pipeline.load(**arguments)  # type: ignore[arg-type]
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert len(str(caught.value)) < 500
    if "path_or_alias" in arguments:
        arguments["model"] = arguments.pop("path_or_alias")
    with pytest.raises(kind):
        sd_rbee.generate("a robot", **arguments)  # type: ignore[arg-type]


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="steps"):
        sd_rbee.generate("a robot", steps=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="steps"):
        pollen().generate("a robot", steps=3)  # type: ignore[call-arg]
