"""Why the engine room turns a caller away."""

from sd_rbee.errors import SdRbeeError


class QueueFullError(SdRbeeError):
    """As many jobs wait as may.

    Attributes:
        retry_after: Seconds until a place is likely to be free, from measured times.
    """

    def __init__(self, size: int, retry_after: float) -> None:
        super().__init__(f"the queue is full: {size} jobs wait")
        self.retry_after = retry_after


class NotReadyError(SdRbeeError):
    """The model is still being loaded, or could not be.

    Attributes:
        retry_after: Seconds after which to ask again.
    """

    retry_after = 1.0


class ShuttingDownError(SdRbeeError):
    """The worker takes no new work because it is about to end."""


class JobNotFoundError(SdRbeeError):
    """No job has this id."""


class JobExpiredError(SdRbeeError):
    """There was a job of this id; its result is no longer kept."""


class DeadlineError(SdRbeeError):
    """The job's deadline passed before it was done."""


class KeyReusedError(SdRbeeError):
    """The idempotency key belongs to a job that asked for something else."""
