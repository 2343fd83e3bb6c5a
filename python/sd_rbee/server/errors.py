"""Every error in one JSON shape: `{"error": {"code", "message", "field", "correlation_id"}}`."""

import math
from dataclasses import dataclass
from typing import Any

from sd_rbee.engine import (
    DeadlineError,
    JobExpiredError,
    JobNotFoundError,
    KeyReusedError,
    NotReadyError,
    QueueFullError,
    ShuttingDownError,
)
from sd_rbee.errors import (
    Cancelled,
    CheckpointError,
    DeviceError,
    InferenceError,
    InvalidParamsError,
    ModelNotFoundError,
    OutOfMemoryError,
    SdRbeeError,
)


class UnsupportedOperationError(SdRbeeError):
    """The model cannot do what was asked, whatever the parameters."""


class WrongModelError(InvalidParamsError):
    """The request is for another model or another worker."""


class RequestError(SdRbeeError):
    """The request itself cannot be taken.

    Attributes:
        status: The HTTP status.
        code: The code of the error.
        field: The field or header that is wrong, if one is.
        retriable: Whether the same request may succeed later.
    """

    def __init__(
        self, status: int, code: str, message: str, field: str | None = None, *, retriable: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.retriable = retriable


class ReaderLeftError(RequestError):
    """The client closed the connection before its answer."""

    def __init__(self) -> None:
        super().__init__(499, "CLIENT_LEFT", "the client has closed the connection")


@dataclass(frozen=True, slots=True)
class Wire:
    """An error as clients see it.

    Attributes:
        status: The HTTP status, for errors before a stream.
        code: A constant that programs compare with.
        message: A sentence for people; it names no path and no address.
        retriable: Whether the same request may succeed later.
        field: The field that is wrong, if one is.
        retry_after: Seconds after which to try again, if that is known.
    """

    status: int
    code: str
    message: str
    retriable: bool
    field: str | None = None
    retry_after: int | None = None

    def body(self, correlation_id: str) -> dict[str, Any]:
        """The JSON body of an error response."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "retriable": self.retriable}
        if self.field is not None:
            error["field"] = self.field
        return {"error": {**error, "correlation_id": correlation_id}}


# By class, the most special first; messages of the last ones could hold paths, so theirs are not shown.
_KINDS: list[tuple[type[BaseException], int, str, bool]] = [
    (WrongModelError, 404, "MODEL_NOT_FOUND", False),
    (InvalidParamsError, 422, "INVALID_REQUEST", False),
    (UnsupportedOperationError, 501, "UNSUPPORTED_OPERATION", False),
    (QueueFullError, 429, "QUEUE_FULL", True),
    (NotReadyError, 503, "MODEL_LOADING", True),
    (ShuttingDownError, 503, "SHUTTING_DOWN", True),
    (JobNotFoundError, 404, "JOB_NOT_FOUND", False),
    (JobExpiredError, 410, "JOB_EXPIRED", False),
    (KeyReusedError, 409, "IDEMPOTENCY_KEY_REUSED", False),
    (DeadlineError, 408, "INFERENCE_TIMEOUT", True),
    (Cancelled, 409, "CANCELLED", True),
]
_HIDDEN: list[tuple[type[BaseException], int, str, bool, str]] = [
    (OutOfMemoryError, 507, "VRAM_OOM", True, "there is not enough memory for this picture; a smaller one may fit"),
    (MemoryError, 507, "VRAM_OOM", True, "there is not enough memory for this picture; a smaller one may fit"),
    (DeviceError, 503, "DEVICE_ERROR", True, "the device failed"),
    (ModelNotFoundError, 503, "MODEL_LOAD_FAILED", False, "the model could not be loaded"),
    (CheckpointError, 503, "MODEL_LOAD_FAILED", False, "the model could not be loaded"),
    (InferenceError, 500, "INFERENCE_FAILED", True, "the computation failed"),
]


def to_wire(error: BaseException) -> Wire:
    """The error as clients see it."""
    if isinstance(error, RequestError):
        return Wire(error.status, error.code, str(error), error.retriable, error.field)
    for kind, status, code, retriable in _KINDS:
        if isinstance(error, kind):
            field = error.field if isinstance(error, InvalidParamsError) else None
            wait = error.retry_after if isinstance(error, QueueFullError | NotReadyError) else None
            retry_after = None if wait is None else max(1, math.ceil(wait))
            return Wire(status, code, str(error), retriable, field, retry_after)
    for kind, status, code, retriable, message in _HIDDEN:
        if isinstance(error, kind):
            return Wire(status, code, message, retriable)
    return Wire(500, "INTERNAL", "something went wrong inside the worker; its log says more", False)
