"""Bodies of answers, as the routes give them and as the schema tells of them."""

from typing import Any, NotRequired, TypedDict

from sd_rbee.engine import EngineState, State


class Health(TypedDict):
    """The process lives."""

    status: str
    worker_id: str
    model_version: str
    device: str
    uptime_seconds: int
    state: EngineState
    vram_bytes: int
    timestamp: str


class Readiness(TypedDict):
    """Whether jobs are taken, and if not, why."""

    ready: bool
    status: EngineState
    timestamp: str
    reason: NotRequired[str]


class QueenReadiness(TypedDict):
    """Whether jobs are taken, as a queen asks."""

    ready: bool
    state: EngineState
    model_loaded: bool


class Defaults(TypedDict):
    """What a request that names nothing gets."""

    steps: int
    guidance_scale: float
    height: int
    width: int
    scheduler: str


class QueueState(TypedDict):
    """Jobs that wait, and how many may."""

    waiting: int
    size: int


class RequestLimits(TypedDict):
    """What one request may ask for, and how long its result is kept."""

    max_pixels: int
    max_steps: int
    max_batch: int
    max_body_bytes: int
    keep_seconds: float


class Info(TypedDict):
    """The worker; what is the model's is there once it is loaded."""

    worker_id: str
    worker_type: str
    version: str
    model_ref: str
    model_version: str
    device: str
    status: EngineState
    capabilities: list[str]
    operations: list[str]
    protocol: str
    slots_total: int
    queue: QueueState
    limits: RequestLimits
    defaults: NotRequired[Defaults]
    size_multiple: NotRequired[int]
    dtype: NotRequired[str]
    schedulers: NotRequired[list[str]]


class JobCreated(TypedDict):
    """A job, and where its events are."""

    job_id: str
    sse_url: str


class JobStopped(TypedDict):
    """A job that is over, or about to be."""

    job_id: str
    status: State


class Stopping(TypedDict):
    """The worker is about to end."""

    status: str


class Finished(TypedDict):
    """The pictures of a job; `image` and `seed` are the first one's."""

    type: str
    job_id: str
    image: str
    images: list[str]
    seed: int
    seeds: list[int]
    format: str
    elapsed_ms: int
    warnings: list[str]


class JobFailure(TypedDict):
    """Why a job failed."""

    code: str
    message: str
    retriable: bool


class JobDescription(TypedDict):
    """A job: where it is, how far, and what it made.

    `eta_seconds` are to its end, the jobs before it among them; null until something was measured.
    """

    job_id: str
    status: State
    created: float
    position: int | None
    eta_seconds: float | None
    sse_url: str
    progress: NotRequired[dict[str, Any]]
    result: NotRequired[Finished]
    error: NotRequired[JobFailure]


ANSWERS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (Health, Readiness, QueenReadiness, Info, JobCreated, JobStopped, Stopping, Finished, JobDescription)
}
