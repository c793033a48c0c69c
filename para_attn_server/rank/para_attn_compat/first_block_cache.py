"""The first-block cache. Each function takes the module of para_attn that it patches."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch

from para_attn_server.core.errors import SetupFailed
from para_attn_server.rank.para_attn_compat.mend import mend


def cache(module: Any) -> None:
    """Flux's single blocks take image and text apart since diffusers 0.35; Mochi's adapter hands its settings over as
    one dictionary."""

    def blocks(original: Any, self: Any, first: Any, single: Any = None, **kwargs: Any) -> None:
        if single is not None and "encoder_hidden_states" in inspect.signature(single[0].forward).parameters:
            first, single = torch.nn.ModuleList([*first, *single]), None
        original(self, first, single, **kwargs)

    def context(original: Any, *args: Any, **kwargs: Any) -> Any:
        return original(**args[0], **kwargs) if args and isinstance(args[0], dict) else original(*args, **kwargs)

    mend(module.CachedTransformerBlocks, "__init__", blocks)
    mend(module, "create_cache_context", context)


def cache_comes_second(module: Any) -> None:
    """These adapters replace the transformer's `forward`, and with it the cache that was put around it."""

    def parallelize_transformer(original: Any, transformer: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(transformer, "_is_cached", False) and not getattr(transformer, "_is_parallelized", False):
            raise SetupFailed("apply para_attn's first-block cache after parallelize_pipe, which would drop it")
        return original(transformer, *args, **kwargs)

    mend(module, "parallelize_transformer", parallelize_transformer)


def cached_pipeline(module: Any) -> None:
    """para_attn keeps the settings of the first call in the pipeline's class. Here each transformer has its own, the
    ones that were given last."""

    def apply_cache_on_pipe(original: Any, pipe: Any, *, shallow_patch: bool = False, **settings: Any) -> Any:
        within_cache = type("WithinCache", (), {"__call__": lambda self, call: call()})()
        original(within_cache, shallow_patch=True, **settings)  # it then opens a cache of these settings for each call
        pipe.transformer._within_cache = within_cache
        cls = type(pipe)
        if not getattr(cls, "_is_cached", False):
            mend(cls, "__call__", _call_within_cache)
            cls._is_cached = True
        if not shallow_patch:
            module.apply_cache_on_transformer(pipe.transformer)
        return pipe

    mend(module, "apply_cache_on_pipe", apply_cache_on_pipe)


def _call_within_cache(original: Any, pipe: Any, *args: Any, **kwargs: Any) -> Any:
    call = partial(original, pipe, *args, **kwargs)
    within_cache = getattr(getattr(pipe, "transformer", None), "_within_cache", None)
    return call() if within_cache is None else within_cache(call)
