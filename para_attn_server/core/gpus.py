"""What a machine shows of its GPUs without torch, and what to do where torch sees none of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from para_attn_server.core import install
from para_attn_server.core.wire.launch import GroupWish

DEV = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/version")
CPU_RANKS = 2
"""Ranks of a group where there is no GPU and --num-devices is left out."""
_VARIABLE = "CUDA_VISIBLE_DEVICES"
_OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""By CUDA's major version: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html."""
_BUILDS = ((580, "cu130"), (570, "cu128"), (525, "cu126"), (450, "cu118"))
"""By driver, newest first: torch's build that it can run."""


def visible_gpus(dev: Path = DEV) -> list[str]:
    """GPUs by the names that CUDA_VISIBLE_DEVICES uses; empty without any."""
    chosen = os.environ.get(_VARIABLE)
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    nodes = [path for path in dev.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()]
    return [str(index) for index in range(len(nodes))]


def gpus_are_hidden() -> bool:
    """Whether CUDA_VISIBLE_DEVICES is set and names none."""
    return _VARIABLE in os.environ and not visible_gpus()


def ranks_of_groups(groups: Sequence[GroupWish], free: int | None) -> list[int]:
    """How many ranks each group has. free: how many GPUs there are that no group names; None where ranks use none.

    Groups that leave the number open share what the others leave. Whether there are enough GPUs is for the caller to
    say.
    """
    sizes = [len(wish.gpus) or wish.num_devices for wish in groups]
    taken = sum(wish.num_devices or 0 for wish in groups if not wish.gpus)
    share = CPU_RANKS if free is None else max((free - taken) // max(sizes.count(None), 1), 1)
    return [share if size is None else size for size in sizes]


def driver_version(file: Path = DRIVER) -> str | None:
    """The version of the NVIDIA driver, None where none is loaded."""
    try:
        found = re.search(r"Module\b[^\n]*?\s(\d{3,}\.[\d.]+)", file.read_text(errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def why_torch_sees_none(torch: str, built_for: str | None, driver: str | None) -> str:
    """Versions and the next step, in words. torch: its version; built_for: its CUDA version, None for a CPU build."""
    build = f"torch {torch} is a CPU build" if built_for is None else f"torch {torch} is built for CUDA {built_for}"
    if driver is None:
        step = "install the driver (nvidia-smi shows whether it works), or start the container with --gpus all"
        return f"no NVIDIA driver is loaded, and {build}; {step}"
    major = int(driver.partition(".")[0])
    oldest = _OLDEST_DRIVER.get(int(built_for.partition(".")[0]), 0) if built_for else 0
    if built_for is not None and major >= oldest:
        step = f"see what nvidia-smi lists, and {_VARIABLE}"
    else:
        needs = f", which needs driver {oldest} or newer" if built_for else ""
        build += needs
        fits = next((build for oldest_driver, build in _BUILDS if major >= oldest_driver), None)
        step = install.torch(fits) if fits else "install a newer driver"
    return f"the NVIDIA driver is {driver}, and {build}; {step}"
