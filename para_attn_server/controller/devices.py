"""Which GPUs each group has, without importing torch: whether torch sees them is for the ranks (rank/device.py)."""

from __future__ import annotations

from pathlib import Path

from para_attn_server.core.errors import UsageError
from para_attn_server.core.gpus import DEV, gpus_are_hidden, ranks_per_group, visible_gpus
from para_attn_server.core.settings import Settings


def group_devices(settings: Settings, dev: Path = DEV) -> tuple[int, list[list[str]]]:
    """Ranks per group, and the GPUs of each group (empty lists on CPU); raises UsageError if there are too few."""
    gpus = _gpus(settings, dev)
    per_group = ranks_per_group(settings.num_devices, settings.num_groups, len(gpus))
    if not gpus:
        return per_group, [[] for _ in range(settings.num_groups)]
    needed = per_group * settings.num_groups
    if needed > len(gpus):
        raise UsageError(
            f"num_devices: {settings.num_groups} group(s) of {per_group} need {needed} GPUs, "
            f"but {len(gpus)} are visible; lower --num-devices or --num-groups"
        )
    return per_group, [gpus[i * per_group : (i + 1) * per_group] for i in range(settings.num_groups)]


def _gpus(settings: Settings, dev: Path) -> list[str]:
    if settings.device == "cpu":
        return []
    if settings.device == "cuda" and gpus_are_hidden():
        raise UsageError("device: cuda is asked for, but CUDA_VISIBLE_DEVICES is set and names no GPU; unset it")
    gpus = visible_gpus(dev)
    if settings.device == "cuda" and not gpus:  # torch may know some all the same: WSL 2 has no such files in /dev
        return [str(index) for index in range((settings.num_devices or 1) * settings.num_groups)]
    return gpus
