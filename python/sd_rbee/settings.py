"""What a worker is told at its start."""

from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for.

    Attributes:
        max_pixels: Height times width.
        max_steps: Sampling steps.
        max_batch: Pictures.
        max_body_bytes: Bytes of a request's body.
        queue_size: Jobs that may wait.
    """

    max_pixels: int = 2048 * 2048
    max_steps: int = 150
    max_batch: int = 8
    max_body_bytes: int = 32 * MEBIBYTE
    queue_size: int = 16


@dataclass(frozen=True, slots=True)
class Hive:
    """Whom the worker reports to; every address is the operator's alone.

    Attributes:
        callback_url: Where the worker says that it is ready: verbatim with a path, else `/v1/workers/ready` is added.
        queen_url: Where a queen hears heartbeats.
        required: Whether the worker ends when nobody takes its ready call.
        heartbeat_seconds: Time between two heartbeats.
    """

    callback_url: str | None = None
    queen_url: str | None = None
    required: bool = False
    heartbeat_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Everything about a worker that does not change while it runs.

    Attributes:
        worker_id: Its name at the hive.
        model: Alias, folder or file.
        model_ref: What the hive calls the model.
        model_version: What the seed calls it: v1-5, v2-1 …, or the model's own name.
        device: As `Pipeline.load` takes it.
        dtype: As `Pipeline.load` takes it.
        num_threads: As `Pipeline.load` takes it.
        vae: As `Pipeline.load` takes it.
        preview_vae: As `Pipeline.load` takes it.
        prediction_type: As `Pipeline.load` takes it.
        variant: As `Pipeline.load` takes it.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        token: Bearer token that protected routes ask for, and that calls out carry; None asks for none.
        allow_origins: Origins of web pages that may call the worker.
        allow_hosts: Host names that requests may be addressed to, beside the obvious ones.
        limits: What one request may ask for.
        hive: Whom it reports to.
        keep_seconds: How long an ended job is kept.
        keep_jobs: How many ended jobs are kept.
        keep_bytes: How many bytes of pictures they may hold together.
        keep_alive_seconds: Silence of a stream before a comment keeps it alive.
        patience_seconds: How long a client may owe a request's next bytes, or take nothing of what it is sent.
    """

    worker_id: str
    model: str
    model_ref: str
    model_version: str
    device: str = "auto"
    dtype: str = "auto"
    num_threads: int | None = None
    vae: str | None = None
    preview_vae: str | None = None
    prediction_type: str | None = None
    variant: str | None = None
    host: str = "127.0.0.1"
    port: int = 8081
    token: str | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    limits: Limits = Limits()
    hive: Hive = Hive()
    keep_seconds: float = 600.0
    keep_jobs: int = 64
    keep_bytes: int = 256 * MEBIBYTE
    keep_alive_seconds: float = 15.0
    patience_seconds: float = 30.0
