"""The one seam for para_attn: spreading a pipeline's transformer over the ranks of a worker group.

`parallelize(pipe)` gives every rank an equal share of the sequence (image and text tokens); inside each attention an
all-to-all swaps sequence shares for head shares, so that every rank attends over the whole sequence with some of the
heads. This is the Ulysses plan. Every rank ends each transformer call with the complete result, so schedulers, step
callbacks and decoders run as on one GPU.

This module loads no models, starts no process group and knows nothing of jobs. para_attn is imported only when there
is more than one rank, so that a single device works without it.
"""

from __future__ import annotations

import os
from typing import Any

import diffusers
import torch
import torch.distributed as dist

from para_attn_server.core import install
from para_attn_server.core.errors import SetupFailed
from para_attn_server.rank import para_attn_compat
from para_attn_server.rank.account import note_plan

ULYSSES_TRANSFORMERS = ("FluxTransformer2DModel",)
"""diffusers classes whose output on several ranks was verified against one rank.

para_attn chooses its adapter by the beginning of a class name and so takes look-alikes, some of which come out wrong
without any error; here only the exact class is taken."""

_PARA_ATTN_MISSING = (
    "para_attn is not installed; a group of more than one rank needs it. Install it, or run with one device per group: "
    f"{install.PARA_ATTN}"
)


def rank_device() -> torch.device:
    """The device of this rank: `cuda:LOCAL_RANK` (made the current one), or the CPU where there is no GPU.

    LOCAL_RANK is read as torchrun sets it and is 0 where it is not set.

    Returns
    -------
    torch.device
        Where to load this rank's pipeline.

    Raises
    ------
    SetupFailed
        There are fewer GPUs than ranks.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= count:
        raise SetupFailed(f"local rank {local_rank} needs a GPU of its own, but only {count} are visible")
    device = torch.device("cuda", local_rank)
    # NCCL and init_device_mesh work on the current device, which is cuda:0 on every rank until it is set.
    torch.cuda.set_device(device)
    return device


def parallelize(pipe: Any) -> None:
    """Spread `pipe.transformer` over all ranks of the process group with the Ulysses plan, in place.

    Call it after `torch.distributed.init_process_group()`, and once. With one rank it changes nothing. Afterwards every
    call of the pipeline must be made by all ranks with equal arguments and an equally seeded generator, within the
    bounds of `ulysses_limits`. The plan is that of DeepSpeed-Ulysses (https://arxiv.org/abs/2309.14509), as para-attn
    implements it (https://github.com/chengzeyi/ParaAttention).

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
        On its device already, the same on every rank.

    Raises
    ------
    SetupFailed
        No process group is initialized, the class of the transformer is not one of ULYSSES_TRANSFORMERS, its attention
        heads do not divide by the number of ranks, or para_attn is not installed.
    """
    if not dist.is_initialized():
        raise SetupFailed("call torch.distributed.init_process_group() before parallelize()")
    ranks = dist.get_world_size()
    if ranks == 1:
        return
    transformer = _supported_transformer(pipe)
    heads = transformer.config.num_attention_heads
    if heads % ranks:
        raise SetupFailed(
            f"the Ulysses plan shares the {heads} attention heads of {type(transformer).__name__} equally among the "
            f"ranks of a group: {heads} is not a multiple of {ranks}; choose a number of devices that divides {heads}"
        )
    _parallelize_transformer(transformer)
    note_plan(ulysses=ranks)


def ulysses_limits(pipe: Any) -> dict[str, dict[str, Any]]:
    """Bounds on `height`, `width` and `max_sequence_length` that `pipe` on this group can take, for Predictor.limits.

    The sizes are multiples of one image token's side in pixels (VAE scale factor x 2 x 2 patch); the tokens of the
    image and of the text must each divide by the number of ranks.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
        With the attribute `vae_scale_factor`: pixels per latent, along one side.

    Returns
    -------
    dict of str to dict
        JSON Schema keywords by argument, or by an expression of arguments.
    """
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    side = pipe.vae_scale_factor * 2
    return {
        "height": {"multipleOf": side},
        "width": {"multipleOf": side},
        f"height // {side} * (width // {side})": {"multipleOf": ranks},
        "max_sequence_length": {"multipleOf": ranks},
    }


def _supported_transformer(pipe: Any) -> Any:
    transformer = getattr(pipe, "transformer", None)
    name = type(transformer).__name__
    if name not in ULYSSES_TRANSFORMERS or type(transformer) is not getattr(diffusers, name):
        raise SetupFailed(
            f"{type(pipe).__name__} with a transformer of class {type(transformer).__module__}.{name} cannot be "
            f"spread over several ranks; supported: {', '.join(ULYSSES_TRANSFORMERS)} of diffusers, not subclasses"
        )
    return transformer


def _parallelize_transformer(transformer: Any) -> None:
    # Not para_attn's parallelize_pipe: it patches __call__ on the pipeline's class.
    para_attn_compat.install()
    try:
        from para_attn.context_parallel import init_context_parallel_mesh
        from para_attn.context_parallel.diffusers_adapters import parallelize_transformer
    except ModuleNotFoundError as error:
        if error.name != "para_attn":
            raise
        raise SetupFailed(_PARA_ATTN_MISSING) from None
    parallelize_transformer(transformer, mesh=init_context_parallel_mesh(rank_device().type))
