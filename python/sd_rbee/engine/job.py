"""One thing to be drawn, from its submission to its end."""

import enum
import time
import uuid
from dataclasses import dataclass, field, replace

from sd_rbee.backend import native
from sd_rbee.engine.events import END, Cancelled, Complete, EventLog, Failed, JobEvent, Queued, Started
from sd_rbee.events import Progress
from sd_rbee.spec import GenerationSpec


class State(enum.StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_STATES: dict[type, State] = {
    Started: State.RUNNING,
    Complete: State.COMPLETED,
    Failed: State.FAILED,
    Cancelled: State.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks for.

    Attributes:
        spec: The generation, every value of the right type.
        preview_every: Steps between two previews; 0 for none.
        decode_previews: Whether previews go through the VAE, which costs as much as it does; else through the worker's
            `preview_vae`, or they are estimated from the latents.
    """

    spec: GenerationSpec
    preview_every: int = 0
    decode_previews: bool = False

    def without_pixels(self) -> "Order":
        """The same to compare with others; its images are let go."""
        return replace(self, spec=self.spec.without_pixels())


@dataclass(eq=False)
class Job:
    """An order and all that happened to it.

    Attributes:
        order: What was asked for; without its images once the job is over.
        work: How much it is, in units that its duration grows with.
        id: `job-` and a random UUID.
        log: Its events.
        cancel: Stops it within a step.
        created: Wall-clock time of the submission, in seconds since the epoch.
        submitted: The same on the monotonic clock.
        started: Monotonic time at which the engine began with it.
        ended: Monotonic time of its end.
        deadline: Wall-clock time, in seconds since the epoch, after which nobody wants it; None for none.
        collected: Whether somebody has been given its end.
        detached: Whether it is drawn even if nobody reads its events.
    """

    order: Order
    work: float
    id: str = field(default_factory=lambda: f"job-{uuid.uuid4()}")
    state: State = State.QUEUED
    log: EventLog = field(default_factory=EventLog)
    cancel: native.CancelToken = field(default_factory=native.CancelToken)
    created: float = field(default_factory=time.time)
    submitted: float = field(default_factory=time.monotonic)
    started: float | None = None
    ended: float | None = None
    deadline: float | None = None
    collected: bool = False
    detached: bool = False
    progress: Progress | None = None
    queued: Queued | None = None

    def tell(self, event: JobEvent) -> None:
        """Adds an event to the log and follows it."""
        if self.over:
            return
        if type(event) in _STATES:
            self.state = _STATES[type(event)]
        if isinstance(event, Started):
            self.started = time.monotonic()
        elif isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Queued):
            self.queued = event
        elif isinstance(event, END):
            self.ended = time.monotonic()
            self.order = self.order.without_pixels()
        self.log.append(event)

    @property
    def over(self) -> bool:
        """Whether it has ended, however."""
        return self.ended is not None

    @property
    def wanted(self) -> bool:
        """Whether it was or will be drawn: nobody has cancelled it, and it has not failed."""
        return self.state not in (State.FAILED, State.CANCELLED) and not self.cancel.cancelled

    @property
    def late(self) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and time.time() > self.deadline

    def eta(self) -> float | None:
        """Estimated seconds to its end; None until something was measured, 0 when it is over."""
        if self.over:
            return 0.0
        if self.progress is None or self.progress.eta is None or self.started is None:
            return None
        return max(0.0, self.progress.eta - (time.monotonic() - self.started - self.progress.elapsed))
