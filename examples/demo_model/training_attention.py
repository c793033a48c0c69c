"""An attention processor for training on a CPU: the mathematics of Flux's own, written as two matrix products.

The bfloat16 backward pass of the fused CPU attention is several times slower. Inference does not use this.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Rotary = tuple[Tensor, Tensor]


def _turned(states: Tensor, turn: Tensor) -> Tensor:
    """Rotary embedding as one complex product: channels 2i and 2i + 1 turn together; batch x tokens x heads x 32."""
    pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)


class TrainingAttention:
    """Joint attention over text and image tokens, in the double and in the single blocks."""

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Rotary | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attention output, for image tokens and (in a double block) for text tokens."""
        parts = self._heads(attn, hidden_states, (attn.to_q, attn.to_k, attn.to_v), (attn.norm_q, attn.norm_k))
        if encoder_hidden_states is not None:
            layers = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            text = self._heads(attn, encoder_hidden_states, layers, (attn.norm_added_q, attn.norm_added_k))
            parts = tuple(torch.cat(pair, dim=1) for pair in zip(text, parts, strict=True))
        output = self._attend(parts, image_rotary_emb)
        if encoder_hidden_states is None:
            return output
        length = encoder_hidden_states.shape[1]
        return attn.to_out[0](output[:, length:]), attn.to_add_out(output[:, :length])

    @staticmethod
    def _heads(attn: nn.Module, states: Tensor, layers: tuple, norms: tuple) -> tuple[Tensor, ...]:
        """Queries and keys (normalised) and values, split into heads, in float32."""
        query, key, value = (layer(states).unflatten(-1, (attn.heads, -1)).float() for layer in layers)
        return norms[0](query), norms[1](key), value

    @staticmethod
    def _attend(parts: tuple[Tensor, ...], rotary: Rotary | None) -> Tensor:
        query, key, value = parts
        if rotary is not None:
            turn = torch.complex(rotary[0][:, ::2], rotary[1][:, ::2])[None, :, None]
            query, key = _turned(query, turn), _turned(key, turn)
        query, key, value = (part.transpose(1, 2).to(torch.bfloat16) for part in (query, key, value))
        weights = torch.softmax(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5, dim=-1)
        return (weights.to(torch.bfloat16) @ value).transpose(1, 2).flatten(2)
