"""How much room a disk has. It reserves nothing: what is free now may be taken a moment later."""

from __future__ import annotations

import os
from pathlib import Path


def free_bytes(folder: str | Path) -> int | None:
    """Bytes that this user can still write, None where the file system does not say. Raises OSError."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize if disk.f_blocks else None


def has_room(folder: str | Path, least: int) -> bool:
    """False where fewer than `least` bytes are free. Raises OSError."""
    free = free_bytes(folder)
    return free is None or free >= least


def nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())
