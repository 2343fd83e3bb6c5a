"""From the flags of `sd-rbee serve` to a worker's settings."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sd_rbee import models
from sd_rbee.checks import shorten
from sd_rbee.errors import DeviceError, InvalidParamsError, ModelNotFoundError
from sd_rbee.settings import MEBIBYTE, Hive, Limits, WorkerSettings

_V1, _XL, _V3 = "StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline"
# What hives call models, and diffusers' pipelines that each can be: both an SD-Turbo and an SDXL-Turbo are turbo.
_PIPELINES = {
    models.DEFAULT: {_V1},
    "v1-5": {_V1},
    "v2-1": {_V1},
    "xl": {_XL},
    "turbo": {_V1, _XL},
    "3-medium": {_V3},
    "3.5-medium": {_V3},
    "3.5-large": {_V3},
    "3.5-large-turbo": {_V3},
}
VERSIONS = tuple(_PIPELINES)
LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "error": "error", "off": "critical"}
# What hives take, and how to say it.
_WORKER_ID = (re.compile(r"[A-Za-z0-9_-]{1,256}"), "1 to 256 letters, digits, _ and -")
_HOST = (re.compile(r"[A-Za-z0-9._-]{1,253}"), "a host name, without a port")
_MODEL_REF = (
    re.compile(r"(?!.*\.\./)[A-Za-z0-9_./:-]{1,512}"),
    "1 to 512 letters, digits, and _ . / : -, without ../",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The command line as it was given; what is None was left out."""

    worker_id: str | None
    sd_version: str | None
    port: int
    host: str
    callback_url: str | None
    queen_url: str | None
    require_callback: bool
    model: str | None
    vae: str | None
    preview_vae: str | None
    prediction_type: str | None
    variant: str | None
    model_ref: str | None
    backend: str | None
    device: int | None
    cuda_device: int | None
    metal_device: int | None
    rocm_device: int | None
    use_f16: bool
    use_flash_attn: bool
    num_threads: int | None
    queue_size: int
    max_pixels: int
    max_steps: int
    max_batch: int
    max_body_mb: int
    keep_seconds: float
    keep_jobs: int
    keep_alive_seconds: float
    patience_seconds: float
    heartbeat_seconds: float
    allow_origins: tuple[str, ...]
    allow_hosts: tuple[str, ...]
    insecure: bool
    local_mode: bool
    log_level: str | None
    log_format: str
    log_file: Path | None


def configure_logs(
    *,
    worker_id: str | None,
    port: int | None,
    log_level: str | None,
    log_format: str | None,
    log_file: Path | None,
    **_: object,
) -> None:
    """Sets up the logs as these flags say, whatever is wrong with the others.

    Raises:
        OSError: The file cannot be written.
    """
    from sd_rbee import logs

    logs.configure(
        level=_level(log_level, os.environ.get("RUST_LOG", "")),
        format=log_format or "text",
        file=log_file,
        worker_id=_worker_id(worker_id, port),
    )


def worker_settings(flags: Flags, backends: tuple[str, ...]) -> WorkerSettings:
    """The settings that the flags and the environment's token say.

    Args:
        flags: The command line.
        backends: Kinds of devices that the command is for; the first is taken where none is named, `auto` among them.

    Raises:
        InvalidParamsError: A flag that means nothing, or two that contradict each other.
        ModelNotFoundError: There is no such model.
        DeviceError: A device that the command is not for, or flash attention without a build that has it.
    """
    host = "127.0.0.1" if flags.local_mode else flags.host
    token = None if flags.local_mode else _token()
    if not _is_loopback(host) and token is None and not flags.insecure:
        allowed = "127.0.0.1 without a token; set SD_RBEE_API_TOKEN, or say --insecure"
        raise InvalidParamsError("host", host, allowed)
    if flags.require_callback and flags.callback_url is None:
        raise InvalidParamsError("require_callback", "no --callback-url", "a --callback-url to go with it")
    model = _model(flags)
    return WorkerSettings(
        worker_id=_matching("worker_id", _worker_id(flags.worker_id, flags.port), *_WORKER_ID),
        model=model,
        model_ref=_matching("model_ref", flags.model_ref or _referable(model), *_MODEL_REF),
        model_version=_version(flags.sd_version, model),
        device=_device(flags, backends),
        dtype="f16" if flags.use_f16 else "auto",
        num_threads=flags.num_threads,
        vae=_component("vae", flags.vae),
        preview_vae=_component("preview_vae", flags.preview_vae),
        prediction_type=flags.prediction_type,
        variant=flags.variant,
        host=host,
        port=flags.port,
        token=token,
        allow_origins=tuple(map(_origin, flags.allow_origins)),
        allow_hosts=tuple(_matching("allow_hosts", name, *_HOST).lower() for name in flags.allow_hosts),
        limits=Limits(
            max_pixels=flags.max_pixels,
            max_steps=flags.max_steps,
            max_batch=flags.max_batch,
            max_body_bytes=flags.max_body_mb * MEBIBYTE,
            queue_size=flags.queue_size,
        ),
        hive=Hive(
            callback_url=_url("callback_url", flags.callback_url),
            queen_url=_url("queen_url", flags.queen_url),
            required=flags.require_callback,
            heartbeat_seconds=flags.heartbeat_seconds,
        ),
        keep_seconds=flags.keep_seconds,
        keep_jobs=flags.keep_jobs,
        keep_alive_seconds=flags.keep_alive_seconds,
        patience_seconds=flags.patience_seconds,
    )


def _token() -> str | None:
    for name in ("SD_RBEE_API_TOKEN", "LLORCH_API_TOKEN"):
        token = os.environ.get(name, "").strip()
        if token:
            if not token.isascii() or not token.isprintable():
                raise InvalidParamsError(name, "a token with odd characters", "printable ASCII")
            return token
    return None


def _model(flags: Flags) -> str:
    if flags.model is not None:
        models.resolve(flags.model)
        return flags.model
    if flags.sd_version is None:
        return models.DEFAULT
    if flags.sd_version not in (models.DEFAULT, *models.HUB_ALIASES):
        raise ModelNotFoundError(f"{flags.sd_version} is not at hand: say where it is with --model-path")
    try:
        models.resolve(flags.sd_version)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{error}; or say where it is with --model-path") from None
    return flags.sd_version


def _version(given: str | None, model: str) -> str:
    """What the model is called: the operator's word, as far as the kind of its pipeline does not contradict it."""
    if given is None:
        return models.name(model)
    if given == models.DEFAULT != models.name(model):
        raise InvalidParamsError("sd_version", given, f"another one for {models.name(model)}; {given} is embedded")
    kind = models.pipeline_class(model)
    fitting = [version for version, kinds in _PIPELINES.items() if kind in kinds and version != models.DEFAULT]
    if fitting and kind not in _PIPELINES[given]:
        raise InvalidParamsError("sd_version", given, f"{', '.join(fitting)} for a model that is a {kind}")
    return given


def _worker_id(given: str | None, port: int | None) -> str:
    return given or f"sd-worker-{port or os.getpid()}"


def _component(field: str, path: str | None) -> str | None:
    return None if path is None else str(models.component(field, path))


def _referable(model: str) -> str:
    """The model's name in the characters that hives take."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", models.name(model)) or "model"


def _device(flags: Flags, backends: tuple[str, ...]) -> str:
    named = {"cuda": flags.cuda_device, "metal": flags.metal_device, "rocm": flags.rocm_device}
    kinds = [kind for kind, index in named.items() if index is not None]
    if flags.backend is not None and kinds not in ([], [flags.backend]):
        raise InvalidParamsError("backend", flags.backend, f"{kinds[0]}, for which a device is named")
    if len(kinds) > 1:
        raise InvalidParamsError(
            f"{kinds[1]}_device", str(named[kinds[1]]), f"one kind of device, and {kinds[0]} is named"
        )
    kind = flags.backend or (kinds[0] if kinds else backends[0])
    if kind not in backends:
        raise DeviceError(f"this command is for {', '.join(backends)}, not for {kind}")
    index = named.get(kind) if named.get(kind) is not None else flags.device
    if kind in ("auto", "cpu"):
        if index:
            raise InvalidParamsError("device", str(index), f"0 for {kind}; name a GPU by --backend and --device")
        device = kind
    else:
        device = f"{kind}:{index or 0}"
    _check_device(device, flash_attn=flags.use_flash_attn, f16=flags.use_f16)
    return device


def _check_device(device: str, *, flash_attn: bool, f16: bool) -> None:
    from sd_rbee.backend import native

    if flash_attn and "flash-attn" not in native.features():
        raise DeviceError("flash attention: this build has none")
    if device not in ("auto", "cpu") and device not in native.devices():
        raise DeviceError(f"{device} is not there; there are {', '.join(native.devices())}")
    if f16 and (device == "cpu" or native.devices() == ["cpu"]):
        raise InvalidParamsError("use_f16", "true", "false on the CPU, which takes bf16 by itself where that is faster")


def _url(field: str, url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidParamsError(field, shorten(url), "an http or https address")
    return url


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", text):
        raise InvalidParamsError("allow_origins", shorten(text), "scheme, host and port, as in https://example.org")
    return text.lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _level(flag: str | None, rust_log: str) -> str:
    """The level of the flag, else the one that `RUST_LOG` has for everything: what it says of modules is not for us."""
    if flag is not None:
        return LEVELS[flag]
    return next((LEVELS[part] for part in re.split(r"[,\s]+", rust_log.lower()) if part in LEVELS), "info")


def _matching(field: str, text: str, pattern: re.Pattern[str], allowed: str) -> str:
    if not pattern.fullmatch(text):
        raise InvalidParamsError(field, shorten(text), allowed)
    return text
