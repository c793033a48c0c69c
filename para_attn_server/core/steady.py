"""Two clocks: the wall clock (`time.time`) says when something was, the steady clock how long it took.

The steady clock is CLOCK_BOOTTIME, so nobody can set it, it runs while the machine sleeps, and all processes of one
boot agree on it. It counts as the wall clock did when a server was first started in that boot: moments of two boots can
be compared as far as the wall clock was right. Nothing here looks for jumps; controller/retention.py does.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

VARIABLE = "PARA_ATTN_CLOCK"
"""Environment variable with the offset to CLOCK_BOOTTIME, from the controller to its processes."""


def boottime() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """The name of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


_offset = float(os.environ.get(VARIABLE) or time.time() - boottime())


def steady() -> float:
    """Unix seconds that never jump."""
    return boottime() + _offset


def offset() -> float:
    """What is added to CLOCK_BOOTTIME."""
    return _offset


def set_offset(seconds: float) -> None:
    """From now on, in this process and in those that it starts."""
    global _offset
    _offset = seconds
    os.environ[VARIABLE] = repr(seconds)
