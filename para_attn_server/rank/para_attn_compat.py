"""Patches para_attn 0.3.38 for the diffusers and torch that the server is tested with, whoever imports it.

`install()` imports nothing: each module of para_attn is patched as soon as it is imported, by `parallelize`, by a
predictor that calls para_attn itself, or never. The patches and their reasons are listed in docs/parallel.md;
`tests/parallel/test_para_attn_guard.py` fails where another para_attn has other code in these places.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from para_attn_server.core.errors import SetupFailed
from para_attn_server.rank.imports import Act, when_imported

FAMILIES = ("flux", "mochi", "cogvideox", "hunyuan_video", "wan")
_CP, _FBC, _VAE = (f"{part}.diffusers_adapters." for part in ("context_parallel", "first_block_cache", "parallel_vae"))


def install() -> None:
    """Patch para_attn when it is imported, or now if it already is. Idempotent."""
    if not _installed:
        _installed.append(True)
        for name, mend in _mends():
            when_imported(f"para_attn.{name}", mend)


_installed: list[bool] = []


def _mends() -> list[tuple[str, Act]]:
    return [
        ("primitives", _primitives),
        ("ops", _ops),
        ("sparse_attn", _sparse_attn),
        ("para_attn_interface", _interface),
        ("first_block_cache.utils", _cache),
        *((f"{_CP}{family}", _pipeline) for family in FAMILIES),
        (f"{_CP}flux", _flux),
        (f"{_CP}wan", _wan),
        *((f"{part}hunyuan_video", _hunyuan) for part in (_CP, _FBC)),
        *((f"{part}wan", partial(_exact, "WanTransformer3DModel")) for part in (_CP, _FBC)),
        *((f"{part}hunyuan_video", partial(_exact, "HunyuanVideoTransformer3DModel")) for part in (_CP, _FBC)),
        *((f"{_VAE}autoencoder_kl{kind}", _vae) for kind in ("", "_hunyuan_video", "_wan")),
    ]


def _mend(owner: Any, name: str, new: Callable[..., Any]) -> None:
    """Put `new`, called with the original before the arguments, in the place of an attribute."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def mended(*args: Any, **kwargs: Any) -> Any:
        return new(original, *args, **kwargs)

    setattr(owner, name, mended)


# --- attention ---------------------------------------------------------------------------------------------------


def _without_gqa(original: Any, *args: Any, enable_gqa: bool = False, **kwargs: Any) -> Any:
    """diffusers passes `enable_gqa` on since 0.35, which para_attn fails on; false means nothing to it."""
    if enable_gqa:
        raise NotImplementedError("para_attn cannot share out grouped attention heads (enable_gqa=True)")
    return original(*args, **kwargs)


def _interface(module: Any) -> None:
    _mend(module.UnifiedAttnMode, "_call_unified_attn_func", _without_gqa)
    _mend(module, "ring_attn_func", partial(_ring, module.DP))
    for name in ("ulysses_attn_func", "ring_attn_func", "in_batch_attn_func"):
        _mend(module, name, _without_gqa)


def _sparse_attn(module: Any) -> None:
    for name in ("sparse_kv_attn_func", "struct_sparse_attn_func", "focus_attn_func"):
        _mend(module, name, _without_gqa)


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


def _ops(module: Any) -> None:
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

    _mend(module, "attention_forward_with_lse", on_cpu)


def _primitives(module: Any) -> None:
    # torch renamed collectives that para_attn calls by their old names; whoever reads the log cannot change it.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"para_attn\.primitives")

    def chunk(original: Any, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """Wan's rotary embedding is a pair (cosine, sine) of shape (1, sequence, 1, channels) since diffusers 0.35."""
        if not isinstance(tensor, tuple):
            return original(tensor, *args, **kwargs)
        kwargs.pop("dim", None)
        return tuple(original(part, 1, *args[1:], **kwargs) for part in tensor)

    _mend(module, "get_assigned_chunk", chunk)


# --- pipelines and transformers ----------------------------------------------------------------------------------


def _pipeline(module: Any) -> None:
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

    _mend(module, "parallelize_pipe", parallelize_pipe)


def _spread(pipe: Any) -> bool:
    return bool(getattr(getattr(pipe, "transformer", None), "_is_parallelized", False))


def _exact(name: str, module: Any) -> None:
    """The adapters of Wan and HunyuanVideo replace the transformer's own code, and are chosen by the beginning of its
    class name: a related class comes out wrong without any error."""

    def only(original: Any, transformer: Any, *args: Any, **kwargs: Any) -> Any:
        if type(transformer).__name__ != name:
            raise SetupFailed(f"para_attn takes {name} here; {type(transformer).__name__} would come out wrong")
        return original(transformer, *args, **kwargs)

    for function in ("parallelize_transformer", "apply_cache_on_transformer"):
        if hasattr(module, function):
            _mend(module, function, only)


def _flux(module: Any) -> None:
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

    _mend(module, "parallelize_transformer", parallelize_transformer)


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


def _wan(module: Any) -> None:
    """Wan 2.2 has two transformers, of which para_attn spreads one."""

    def parallelize_pipe(original: Any, pipe: Any, *, shallow_patch: bool = False, mesh: Any = None) -> Any:
        second = None if shallow_patch else getattr(pipe, "transformer_2", None)
        if second is not None:
            mesh = module.init_context_parallel_mesh(second.device.type, mesh=mesh)
            module.parallelize_transformer(second, mesh=mesh)
        return original(pipe, shallow_patch=True) if shallow_patch else original(pipe, mesh=mesh)

    _mend(module, "parallelize_pipe", parallelize_pipe)


def _hunyuan(module: Any) -> None:
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
            _mend(module, function, reordered)


def _cache(module: Any) -> None:
    """Flux's single blocks take image and text apart since diffusers 0.35; Mochi's adapter hands its settings over as
    one dictionary."""

    def blocks(original: Any, self: Any, first: Any, single: Any = None, **kwargs: Any) -> None:
        if single is not None and "encoder_hidden_states" in inspect.signature(single[0].forward).parameters:
            first, single = torch.nn.ModuleList([*first, *single]), None
        original(self, first, single, **kwargs)

    def context(original: Any, *args: Any, **kwargs: Any) -> Any:
        return original(**args[0], **kwargs) if args and isinstance(args[0], dict) else original(*args, **kwargs)

    _mend(module.CachedTransformerBlocks, "__init__", blocks)
    _mend(module, "create_cache_context", context)


# --- decoders ----------------------------------------------------------------------------------------------------


def _vae(module: ModuleType) -> None:
    """Tiles are sent by the rank in their group, where torch wants the rank in the world. Wan 2.2's residual VAE fails
    on rank zero, while the others wait."""

    def send(original: Any, tensor: Any, dst: int, group: Any) -> None:
        original(tensor, dist.get_global_rank(group, dst), group)

    def receive(original: Any, src: int, group: Any, **kwargs: Any) -> Any:
        return original(dist.get_global_rank(group, src), group, **kwargs)

    def parallelize_vae(original: Any, vae: Any, **kwargs: Any) -> Any:
        if getattr(vae.config, "is_residual", False):
            raise SetupFailed(f"para_attn cannot spread the residual {type(vae).__name__} of Wan 2.2")
        return original(vae, **kwargs)

    _mend(module, "send_tensor", send)
    _mend(module, "recv_tensor", receive)
    _mend(module, "parallelize_vae", parallelize_vae)
