"""Pipelines and transformers. Each function takes the module of para_attn that it patches."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch

from para_attn_server.core.errors import SetupFailed
from para_attn_server.rank.para_attn_compat.mend import mend


def pipeline(module: Any) -> None:
    """para_attn marks the pipeline's class: after that every pipeline of the class waits for the other ranks when it
    is called without a generator. Here only those do whose transformer is spread."""

    def parallelize_pipe(original: Any, pipe: Any, *, shallow_patch: bool = False, **kwargs: Any) -> Any:
        cls = type(pipe)
        if not getattr(cls.__call__, "_is_parallelized", False):
            original(pipe, shallow_patch=True)
            cls._is_parallelized = property(_spread)
        if not shallow_patch:
            module.parallelize_transformer(pipe.transformer, **kwargs)
        return pipe

    mend(module, "parallelize_pipe", parallelize_pipe)


def _spread(pipe: Any) -> bool:
    return bool(getattr(getattr(pipe, "transformer", None), "_is_parallelized", False))


def exact(name: str, module: Any) -> None:
    """The adapters of Wan and HunyuanVideo replace the transformer's own code, and are chosen by the beginning of its
    class name: a related class comes out wrong without any error."""

    def only(original: Any, transformer: Any, *args: Any, **kwargs: Any) -> Any:
        if type(transformer).__name__ != name:
            raise SetupFailed(f"para_attn takes {name} here; {type(transformer).__name__} would come out wrong")
        return original(transformer, *args, **kwargs)

    for function in ("parallelize_transformer", "apply_cache_on_transformer"):
        if hasattr(module, function):
            mend(module, function, only)


def flux(module: Any) -> None:
    """With a batch dimension in the mesh para_attn cuts ids by the world, not by the sequence's ranks, and leaves the
    pooled prompt and the guidance of the whole batch."""

    def parallelize_transformer(original: Any, transformer: Any, *, mesh: Any = None) -> Any:
        if getattr(transformer, "_is_parallelized", False):
            return transformer
        mesh = module.init_context_parallel_mesh(transformer.device.type, mesh=mesh)
        original(transformer, mesh=mesh)
        sequence = mesh["ring", "ulysses"]._flatten()
        world = module.DP.get_world_size()
        if module.DP.get_world_size(sequence) != world:
            transformer.forward = _by_batch(module.DP, transformer, mesh["batch"], sequence, world)
        return transformer

    mend(module, "parallelize_transformer", parallelize_transformer)


def _by_batch(primitives: Any, transformer: Any, batch: Any, sequence: Any, world: int) -> Any:
    inner = transformer.forward
    signature = inspect.signature(type(transformer).forward)

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:
        given = dict(signature.bind(transformer, *args, **kwargs).arguments)
        given.pop("self")
        hidden, text = given.pop("hidden_states"), given.pop("encoder_hidden_states")
        for name in ("pooled_projections", "guidance"):
            if given.get(name) is not None and given[name].shape[0] == hidden.shape[0]:
                given[name] = primitives.get_assigned_chunk(given[name], dim=0, group=batch)
        for name in ("img_ids", "txt_ids"):  # as many copies of this rank's part as para_attn cuts parts
            part = primitives.get_assigned_chunk(given[name], dim=-2, group=sequence)
            given[name] = torch.cat([part] * world, dim=-2)
        return inner(hidden, text, **given)

    return forward


def wan(module: Any) -> None:
    """Wan 2.2 has two transformers, of which para_attn spreads one. Its copy of the transformer's `forward` is of an
    older diffusers and knows no time step per token (`expand_timesteps`): diffusers' own is used instead."""

    def parallelize_pipe(original: Any, pipe: Any, *, shallow_patch: bool = False, mesh: Any = None) -> Any:
        second = None if shallow_patch else getattr(pipe, "transformer_2", None)
        if second is not None:
            mesh = module.init_context_parallel_mesh(second.device.type, mesh=mesh)
            module.parallelize_transformer(second, mesh=mesh)
        return original(pipe, shallow_patch=True) if shallow_patch else original(pipe, mesh=mesh)

    def parallelize_transformer(original: Any, transformer: Any, *, mesh: Any = None) -> Any:
        if getattr(transformer, "_is_parallelized", False):
            return transformer
        mesh = module.init_context_parallel_mesh(transformer.device.type, mesh=mesh)
        transformer.forward = _with_spread_blocks(module, transformer, mesh)
        transformer._is_parallelized = True
        return transformer

    mend(module, "parallelize_pipe", parallelize_pipe)
    mend(module, "parallelize_transformer", parallelize_transformer)


def _with_spread_blocks(module: Any, transformer: Any, mesh: Any) -> Any:
    """The `forward` of its class, in which all blocks are one that is spread over the ranks."""
    forward, sequence = type(transformer).forward, mesh["ring", "ulysses"]._flatten()

    @functools.wraps(forward)
    def spread(*args: Any, **kwargs: Any) -> Any:
        blocks = transformer.blocks
        transformer.blocks = torch.nn.ModuleList([_SpreadBlocks(module, blocks, mesh, sequence)])
        try:
            return forward(transformer, *args, **kwargs)
        finally:
            transformer.blocks = blocks

    return spread


class _SpreadBlocks(torch.nn.Module):
    """Wan's blocks: each rank computes its part of the batch and of the sequence, and gets the whole result."""

    def __init__(self, module: Any, blocks: Any, mesh: Any, sequence: Any) -> None:
        super().__init__()
        self._dp, self._attention, self._mesh, self._sequence = module.DP, module.UnifiedAttnMode, mesh, sequence
        self.blocks = blocks

    def forward(self, hidden: torch.Tensor, text: torch.Tensor, timestep: torch.Tensor, rotary: Any) -> torch.Tensor:
        chunk, batch = self._dp.get_assigned_chunk, self._mesh["batch"]
        hidden, text, timestep = (chunk(tensor, dim=0, group=batch) for tensor in (hidden, text, timestep))
        hidden, rotary = (chunk(part, dim=-2, group=self._sequence) for part in (hidden, rotary))
        if timestep.ndim == 4:  # one for each token: (batch, sequence, 6, channels)
            timestep = chunk(timestep, dim=1, group=self._sequence)
        with self._attention(self._mesh):
            for block in self.blocks:
                hidden = block(hidden, text, timestep, rotary)
        hidden = self._dp.get_complete_tensor(hidden, dim=-2, group=self._sequence)
        whole: torch.Tensor = self._dp.get_complete_tensor(hidden, dim=0, group=batch)
        return whole


def hunyuan(module: Any) -> None:
    """The embedding of time and text takes its arguments in another order since diffusers 0.33, and returns a pair."""

    def reordered(original: Any, transformer: Any, *args: Any, **kwargs: Any) -> Any:
        if transformer.config.image_condition_type == "token_replace":
            raise SetupFailed('para_attn does not know image_condition_type="token_replace" of HunyuanVideo')
        embed = transformer.time_text_embed
        forward = embed.forward
        if list(inspect.signature(forward).parameters)[1] == "pooled_projection":
            embed.forward = lambda timestep, guidance, pooled: forward(timestep, pooled, guidance)[0]
        return original(transformer, *args, **kwargs)

    for function in ("parallelize_transformer", "apply_cache_on_transformer"):
        if hasattr(module, function):
            mend(module, function, reordered)
