"""The exponential moving average of parameters, which is what is kept of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping


class Average:
    """A moving average that begins as a plain one, so that it has forgotten the first weights in a short run too."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        """Begin with the parameters' present values.

        Args:
            parameters: What is averaged, by name.
            decay: How much of itself it keeps a step, once it has seen many, 0 to 1.
        """
        self.decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in parameters.items()}

    def update(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Take in the parameters' values after a step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for name, value in parameters.items():
                self.values[name].lerp_(value.detach(), 1 - decay)

    def exchange(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Swap the averaged values with the parameters' own."""
        with torch.no_grad():
            for name, value in parameters.items():
                own = value.detach().clone()
                value.copy_(self.values[name])
                self.values[name] = own

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"updates": self.updates, "values": self.values}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state` returned."""
        self.updates = state["updates"]
        self.values = dict(state["values"])
