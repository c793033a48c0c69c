"""The device of a rank as torch sees it: whether it is there, and which one was taken."""

from __future__ import annotations

import torch

from para_attn_server.core.errors import SetupFailed
from para_attn_server.core.gpus import driver_version, why_torch_sees_none
from para_attn_server.core.wire.launch import RankSpec


def require_gpus(spec: RankSpec) -> None:
    """Raises SetupFailed where the group has GPUs and torch cannot use all of them: no rank falls back to the CPU."""
    if spec.place.devices and torch.cuda._is_in_bad_fork():
        raise SetupFailed(
            "a module of --preload has used a GPU when it was imported, and so no rank can: leave that module out"
        )
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen >= len(spec.place.devices):
        return
    named = ", ".join(spec.place.devices)
    if seen:
        raise SetupFailed(f"of the group's GPUs {named} torch sees {seen}; see what nvidia-smi lists")
    reason = why_torch_sees_none(torch.__version__, torch.version.cuda, driver_version())
    raise SetupFailed(
        f"the ranks are to run on GPU {named}, but torch sees no GPU: {reason}; --device cpu runs them on the CPU"
    )


def taken_device(spec: RankSpec) -> str:
    """The device that setup() has taken, such as `cuda:3 (NVIDIA H100 80GB HBM3)`; `cpu` where it has used no GPU."""
    if not torch.cuda.is_initialized():
        return "cpu"
    index = torch.cuda.current_device()
    return f"cuda:{spec.place.devices[index]} ({torch.cuda.get_device_name(index)})"
