"""Which GPUs there are, without importing torch."""

from __future__ import annotations

import os
from pathlib import Path

from para_attn_server.core.errors import UsageError
from para_attn_server.core.settings import Settings

CPU_RANKS = 2
"""Ranks per group where there is no GPU and --num-devices is left out."""


def visible_gpus() -> list[str]:
    """GPUs by the names that CUDA_VISIBLE_DEVICES uses; empty without any."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    nodes = [path for path in Path("/dev").glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()]
    return [str(index) for index in range(len(nodes))]


def group_devices(settings: Settings) -> tuple[int, list[list[str]]]:
    """Ranks per group, and the GPUs of each group (empty lists on CPU); raises UsageError if there are too few."""
    gpus = visible_gpus()
    if not gpus:
        return settings.num_devices or CPU_RANKS, [[] for _ in range(settings.num_groups)]
    per_group = settings.num_devices or len(gpus) // settings.num_groups
    needed = max(per_group, 1) * settings.num_groups
    if needed > len(gpus):
        raise UsageError(
            f"num_devices: {settings.num_groups} group(s) of {max(per_group, 1)} need {needed} GPUs, "
            f"but {len(gpus)} are visible; lower --num-devices or --num-groups"
        )
    return per_group, [gpus[i * per_group : (i + 1) * per_group] for i in range(settings.num_groups)]
