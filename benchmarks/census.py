"""Watches a server's processes over many jobs: memory, descriptors, threads; and what is left when it has ended."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
from measure import Roles, anonymous_kibibytes


@dataclass(slots=True)
class Life:
    """One process from its first look on: anonymous memory in KiB by the number of jobs done."""

    jobs: list[int] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def slope(self, warm_up: int, least: int) -> float | None:
        """KiB per 100 jobs by least squares, without its first `warm_up` jobs; None unless `least` jobs remain."""
        begin = self.jobs[0] + warm_up
        kept = [(jobs, size) for jobs, size in zip(self.jobs, self.memory, strict=True) if jobs >= begin]
        if len(kept) < 3 or kept[-1][0] - kept[0][0] < least:
            return None
        return 100 * statistics.linear_regression(*zip(*kept, strict=True)).slope


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds."""

    descriptors: int
    threads: int


class Census:
    """The lives of a server's processes, over all its restarts, by role."""

    def __init__(self) -> None:
        self.lives: dict[str, dict[psutil.Process, Life]] = {role: {} for role in ("controller", "web worker", "rank")}

    def look(self, who: Roles, jobs: int) -> None:
        """Note the memory of all processes. jobs: done so far. A process that is dying is left out."""
        for role, process in _watched(who):
            with contextlib.suppress(OSError, StopIteration):
                size = anonymous_kibibytes(process.pid)
                life = self.lives[role].setdefault(process, Life())
                life.jobs.append(jobs)
                life.memory.append(size)

    def slopes(self, role: str, warm_up: int, least: int) -> list[float]:
        """Of the processes of that role that lived long enough (see Life.slope)."""
        found = (life.slope(warm_up, least) for life in self.lives[role].values())
        return [slope for slope in found if slope is not None]


def holdings(who: Roles) -> dict[str, Holdings]:
    """By role, the largest where several processes have it."""
    found: dict[str, Holdings] = {}
    for role, process in _watched(who):
        before = found.get(role, Holdings(0, 0))
        threads = process.num_threads()
        found[role] = Holdings(max(before.descriptors, process.num_fds()), max(before.threads, threads))
    return found


def _watched(who: Roles) -> Iterator[tuple[str, psutil.Process]]:
    pids = [
        ("controller", who.controller),
        *(("web worker", pid) for pid in who.web),
        *(("rank", pid) for pid in who.ranks),
    ]
    for role, pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield role, psutil.Process(pid)


def zombies(parent: int) -> list[psutil.Process]:
    """Processes below that one which have ended, and for which nobody has waited."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def marked(variable: str) -> list[psutil.Process]:
    """Other processes that have this variable in their environment as it is in ours: what we have started, however
    indirectly, and what still runs of it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get(variable) == os.environ[variable]
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
