"""The training loop that the VAE and the denoiser share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from tools.pollen.budget import rate_factor
from tools.pollen.errors import RecipeError
from tools.pollen.files import remove, whole
from tools.pollen.report import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.pollen.average import Average
    from tools.pollen.budget import Budget

# Losses are told as means over this many steps: one batch's is mostly noise.
WINDOW = 20
CLIP = 1.0
REPORT_SECONDS = 20.0


@dataclass
class Loop:
    """A run of AdamW over some parameters, which can be interrupted and taken up again.

    Attributes:
        name: What progress lines begin with.
        parameters: What is trained, by name.
        budget: How long.
        rate: Peak learning rate.
        hold: Share of the run before the learning rate falls.
        generator: Where the batches come from; its state is part of a checkpoint.
        checkpoint: File of the interrupted run.
        checkpoint_minutes: Wall-clock minutes between checkpoints.
        average: The moving average of the parameters, or None.
    """

    name: str
    parameters: dict[str, torch.nn.Parameter]
    budget: Budget
    rate: float
    hold: float
    generator: torch.Generator
    checkpoint: Path
    checkpoint_minutes: float
    average: Average | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    losses: list[float] = field(default_factory=list, init=False)

    def run(self, loss_of: Callable[[], torch.Tensor]) -> dict[str, Any]:
        """Train until the budget is spent.

        Args:
            loss_of: Draws a batch from `generator` and returns its loss, a scalar.

        Returns:
            Steps, minutes, and the mean loss of the first and of the last steps.

        Raises:
            RecipeError: The loss is not finite any more.
        """
        trained = list(self.parameters.values())
        optimizer = torch.optim.AdamW(trained, lr=self.rate, betas=self.betas, weight_decay=0.01)
        self._take_up(optimizer)
        told = saved = self.budget.elapsed()
        try:
            while (share := self.budget.share(len(self.losses))) < 1:
                for group in optimizer.param_groups:
                    group["lr"] = self.rate * rate_factor(len(self.losses), share, self.hold)
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of()
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(trained, CLIP)
                optimizer.step()
                self._note(loss.item())
                if self.average is not None:
                    self.average.update(self.parameters)
                now = self.budget.elapsed()
                if now - told > REPORT_SECONDS:
                    say(f"{self.name}: {share:4.0%}, step {len(self.losses)}, loss {mean(self.losses[-WINDOW:]):.4f}")
                    told = now
                if now - saved > 60 * self.checkpoint_minutes:
                    self._save(optimizer)
                    saved = now
        except KeyboardInterrupt:
            self._save(optimizer)
            say(f"{self.name}: interrupted; {self.checkpoint} takes it up again")
            raise
        return {
            "steps": len(self.losses),
            "minutes": round(self.budget.elapsed() / 60, 2),
            "first loss": round(mean(self.losses[:WINDOW]), 4),
            "last loss": round(mean(self.losses[-WINDOW:]), 4),
        }

    def finish(self) -> None:
        """Forget the checkpoint, once what was trained is written."""
        remove(self.checkpoint)

    def _note(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise RecipeError(f"{self.name}: the loss is {loss} at step {len(self.losses)}; try a lower learning rate")
        self.losses.append(loss)

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "parameters": {name: value.detach() for name, value in self.parameters.items()},
            "average": None if self.average is None else self.average.state(),
            "optimizer": optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "losses": self.losses,
            "elapsed": self.budget.elapsed(),
        }
        with whole(self.checkpoint) as draft:
            torch.save(state, draft)

    def _take_up(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.checkpoint.is_file():
            return
        device = next(iter(self.parameters.values())).device
        state = torch.load(self.checkpoint, map_location=device, weights_only=True)
        shapes = {name: tuple(value.shape) for name, value in self.parameters.items()}
        if shapes != {name: tuple(value.shape) for name, value in state["parameters"].items()}:
            raise RecipeError(f"{self.checkpoint} is of networks of another shape; remove it or ask for those again")
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
        if self.average is not None:
            self.average.restore(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.losses = list(state["losses"])
        self.budget.spent = state["elapsed"]
        say(f"{self.name}: taken up at step {len(self.losses)}")


def mean(values: list[float]) -> float:
    """Return the mean, NaN of nothing."""
    return sum(values) / len(values) if values else math.nan
