"""Attention and the primitives below it. Each function takes the module of para_attn that it patches."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from para_attn_server.rank.para_attn_compat.mend import mend


def _without_gqa(original: Any, *args: Any, enable_gqa: bool = False, **kwargs: Any) -> Any:
    """diffusers passes `enable_gqa` on since 0.35, which para_attn fails on; false means nothing to it."""
    if enable_gqa:
        raise NotImplementedError("para_attn cannot share out grouped attention heads (enable_gqa=True)")
    return original(*args, **kwargs)


def interface(module: Any) -> None:
    mend(module.UnifiedAttnMode, "_call_unified_attn_func", _without_gqa)
    mend(module, "ring_attn_func", partial(_ring, module.DP))
    for name in ("ulysses_attn_func", "ring_attn_func", "in_batch_attn_func"):
        mend(module, name, _without_gqa)


def sparse_attn(module: Any) -> None:
    for name in ("sparse_kv_attn_func", "struct_sparse_attn_func", "focus_attn_func"):
        mend(module, name, _without_gqa)


def _ring(
    primitives: Any,
    original: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *args: Any,
    mesh: Any = None,
    **kwargs: Any,
) -> torch.Tensor:
    """A mask is refused by the ring: with one, keys and values are gathered instead (which takes their memory)."""
    if attn_mask is not None and primitives.get_world_size(mesh) > 1:
        key = primitives.get_complete_tensor(key, dim=-2, group=mesh)
        value = primitives.get_complete_tensor(value, dim=-2, group=mesh)
        return F.scaled_dot_product_attention(query, key, value, attn_mask, *args, **kwargs)
    output: torch.Tensor = original(query, key, value, attn_mask, *args, mesh=mesh, **kwargs)
    return output


def ops(module: Any) -> None:
    """The ring asks for CUDA tensors; the CPU has an attention that gives the same two results."""

    def on_cpu(
        original: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kw: Any
    ) -> Any:
        if query.device.type != "cpu":
            return original(query, key, value, *args, **kw)
        names = ("attn_mask", "dropout_p", "is_causal")
        given = dict(zip(names, args, strict=False)) | kw
        operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return operator(
            query,
            key,
            value,
            given.get("dropout_p", 0.0),
            given.get("is_causal", False),
            attn_mask=given.get("attn_mask"),
            scale=given.get("scale"),
        )

    mend(module, "attention_forward_with_lse", on_cpu)


def primitives(module: Any) -> None:
    # torch renamed collectives that para_attn calls by their old names; whoever reads the log cannot change it.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"para_attn\.primitives")

    def chunk(original: Any, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """Wan's rotary embedding is a pair (cosine, sine) of shape (1, sequence, 1, channels) since diffusers 0.35."""
        if not isinstance(tensor, tuple):
            return original(tensor, *args, **kwargs)
        kwargs.pop("dim", None)
        return tuple(original(part, 1, *args[1:], **kwargs) for part in tensor)

    mend(module, "get_assigned_chunk", chunk)
