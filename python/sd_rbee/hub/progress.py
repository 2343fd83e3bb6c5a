"""How far a download is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """One report.

    Attributes:
        phase: Whether bytes come, or those that are there are checked.
        name: The model.
        file: The file that it is at.
        completed: Bytes of all files so far.
        total: Bytes of all files.
    """

    phase: Literal["download", "check"]
    name: str
    file: str
    completed: int
    total: int


OnProgress = Callable[[Progress], object]


class ProgressBar:
    """Shows a download as huggingface_hub shows its own, in a terminal or a notebook."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._shown: tuple[str, str] | None = None

    def __call__(self, progress: Progress) -> None:
        """Shows one report."""
        from huggingface_hub.utils import tqdm

        shown = (progress.phase, progress.name)
        if shown != self._shown:
            self.close()
            self._shown = shown
            self._bar = tqdm(  # type: ignore[no-untyped-call]
                desc=f"{progress.phase} {progress.name}", unit="B", unit_scale=True
            )
        self._bar.total = progress.total
        self._bar.update(progress.completed - self._bar.n)
        if progress.completed == progress.total:
            self.close()

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()
