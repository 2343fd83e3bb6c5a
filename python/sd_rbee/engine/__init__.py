"""The engine room of the worker: jobs in a bounded queue, and the one thread that owns the model."""

from sd_rbee.engine.errors import (
    DeadlineError,
    JobExpiredError,
    JobNotFoundError,
    KeyReusedError,
    NotReadyError,
    QueueFullError,
    ShuttingDownError,
)
from sd_rbee.engine.job import Job, Order, State
from sd_rbee.engine.worker import Engine, EngineState

__all__ = [
    "DeadlineError",
    "Engine",
    "EngineState",
    "Job",
    "JobExpiredError",
    "JobNotFoundError",
    "KeyReusedError",
    "NotReadyError",
    "Order",
    "QueueFullError",
    "ShuttingDownError",
    "State",
]
