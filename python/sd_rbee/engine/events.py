"""What happens to a job, in order: queued, started, progress and previews, and one of three ends."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sd_rbee.events import Progress


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits.

    Attributes:
        position: Jobs before it, the running one counted.
        eta: Estimated seconds until it starts; None until a job was measured.
    """

    position: int
    eta: float | None


@dataclass(frozen=True, slots=True)
class Started:
    """The engine has begun with it."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture half way: what the step before it would give, roughly.

    Attributes:
        progress: The step that it was made after.
        png: The picture as a PNG file.
    """

    progress: Progress
    png: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """The pictures are done.

    Attributes:
        pngs: The pictures as PNG files that carry their parameters.
        seeds: Each picture's own seed.
        seconds: From start to end.
        warnings: What was cut off or had no effect, in words.
    """

    pngs: list[bytes]
    seeds: list[int]
    seconds: float
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended in an error."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job was stopped."""


JobEvent: TypeAlias = Queued | Started | Progress | Preview | Complete | Failed | Cancelled
END = (Complete, Failed, Cancelled)


def picture_bytes(event: JobEvent) -> int:
    """Size of the pictures in the event."""
    match event:
        case Preview(_, png):
            return len(png)
        case Complete(pngs):
            return sum(map(len, pngs))
        case _:
            return 0


class EventLog:
    """The events of one job, numbered from 1; one thread writes, any number read and wait.

    Only the newest preview and the newest place in the queue are kept: a reader who is late, or who comes again, wants
    no older one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[tuple[int, JobEvent]] = []
        self._count = 0
        self._closed = False
        self._bytes = 0
        self._wakers: set[Callable[[], None]] = set()

    def append(self, event: JobEvent) -> None:
        """Adds an event and wakes every reader; nothing comes after an end."""
        with self._lock:
            if self._closed:
                return
            if isinstance(event, Preview | Queued):
                self._entries = [entry for entry in self._entries if not isinstance(entry[1], type(event))]
            if isinstance(event, Preview):
                self._bytes = 0
            self._bytes += picture_bytes(event)
            self._count += 1
            self._entries.append((self._count, event))
            self._closed = isinstance(event, END)
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def since(self, last: int) -> list[tuple[int, JobEvent]]:
        """The events with numbers above `last`."""
        with self._lock:
            return [entry for entry in self._entries if entry[0] > last]

    @property
    def end(self) -> tuple[int, Complete | Failed | Cancelled] | None:
        """The number of the event that was the end, and the event; None before."""
        with self._lock:
            if not self._entries:
                return None
            number, event = self._entries[-1]
            return (number, event) if isinstance(event, END) else None

    @property
    def bytes(self) -> int:
        """Size of the pictures in it."""
        return self._bytes

    def subscribe(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Calls `wake` after each event, on the thread that writes, until the returned function is called."""
        with self._lock:
            self._wakers.add(wake)

        def unsubscribe() -> None:
            with self._lock:
                self._wakers.discard(wake)

        return unsubscribe

    @property
    def readers(self) -> int:
        """How many are subscribed."""
        with self._lock:
            return len(self._wakers)
