"""Says every few seconds what the ranks that are still loading do, so that minutes without an end are not silence.

It is measured from outside, in a thread: a rank that is busy in C code cannot say it, and a hub cache on a network disk
may take its time. Decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import structlog

log = structlog.get_logger()
EVERY = 15.0
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Loading:
    """A process that is loading. event: what to say of it; keys: who it is."""

    event: str
    keys: dict[str, Any]
    pid: int | None
    since: float


class LoadingReports:
    """Reports what `find` returns, every `every` seconds, for as long as it returns anything.

    find: called on the loop.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, find: Callable[[], Sequence[Loading]], every: float = EVERY
    ) -> None:
        self._loop, self._find, self._every = loop, find, every
        self._due: asyncio.TimerHandle | None = None
        self._hub = HubFiles()

    def begin(self) -> None:
        """Something has begun to load."""
        if self._due is None:
            self._due = self._loop.call_later(self._every, self._report)

    def close(self) -> None:
        """No further report."""
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _report(self) -> None:
        self._due = None
        if found := self._find():
            self._loop.run_in_executor(None, self._say, found)
            self.begin()

    def _say(self, found: Sequence[Loading]) -> None:
        for one in found:
            elapsed = round(time.monotonic() - one.since, 1)
            log.info(one.event, **one.keys, elapsed_s=elapsed, **({} if one.pid is None else measured(one.pid)))
        if grown := self._hub.look():
            log.info("downloading hub files", **grown)


def measured(pid: int) -> dict[str, Any]:
    """What a process uses and has read; `read_mb` with what was in the page cache, `disk_read_mb` without."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        with process.oneshot():
            used, read, cpu = process.memory_info(), process.io_counters(), process.cpu_times()
        return {
            "pid": pid,
            "memory_mb": round(used.rss / _MB),
            "read_mb": round(read.read_chars / _MB),
            "disk_read_mb": round(read.read_bytes / _MB),
            "cpu_s": round(cpu.user + cpu.system, 1),
        }
    return {"pid": pid}


@dataclass(slots=True)
class HubFiles:
    """The files that the model hub's library is downloading, in its cache."""

    _sizes: dict[str, int] = field(default_factory=dict)

    def look(self) -> dict[str, Any]:
        """How many have grown since the last look, and by how much; empty where none has."""
        before, self._sizes = self._sizes, dict(_incomplete(hub_cache()))
        grown = {name: size - before.get(name, 0) for name, size in self._sizes.items() if size > before.get(name, 0)}
        if not grown:
            return {}
        here = sum(self._sizes[name] for name in grown)
        return {"files": len(grown), "grown_mb": round(sum(grown.values()) / _MB, 1), "mb": round(here / _MB, 1)}


def hub_cache() -> Path:
    """Where huggingface_hub keeps its files, by the rules of its documentation."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface")
    return Path(home, "hub")


def _incomplete(cache: Path) -> list[tuple[str, int]]:
    found = []
    with contextlib.suppress(OSError):
        for file in cache.glob("*/blobs/*.incomplete"):
            with contextlib.suppress(OSError):  # it is complete by now
                found.append((str(file), file.stat().st_size))
    return found
