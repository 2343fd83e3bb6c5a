"""Attention computed in f32 inside a bf16 step: torch's backward of it in bf16 is far slower on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from tools.pollen.kinds import Attention


class F32Attention:
    """An attention processor for diffusers: projections as autocast has them, scores and sums in f32."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend from `[n, length, width]` to itself or to `[n, other length, other width]`."""
        if attention_mask is not None:
            raise NotImplementedError("attention_mask: the networks of this recipe attend without one")
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            project(states).unflatten(-1, (attn.heads, -1)).transpose(1, 2).float()
            for project, states in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        with torch.autocast(query.device.type, enabled=False):
            mixed = functional.scaled_dot_product_attention(query, key, value)
        # The second of `to_out` is a dropout.
        out: torch.Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out
