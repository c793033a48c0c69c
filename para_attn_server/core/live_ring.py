"""Rings of the last live events of jobs: bounded per job and together. No I/O, no locks.

What is binary (previews, say) goes before anything else where room is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

MOST_EVENTS, MOST_BYTES, MOST_BYTES_TOGETHER = 256, 4 * 2**20, 64 * 2**20
"""Of a job, and of all jobs together."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """An event in a ring. number: of the event in its run, from 1. size: bytes that it takes."""

    number: int
    value: T
    size: int
    binary: bool


class Ring(Generic[T]):
    """One run's. last: the number of its latest event, whether that is still in the ring or not."""

    def __init__(self, run: int) -> None:
        self.run, self.last, self.size = run, 0, 0
        self._entries: list[Entry[T]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry[T]) -> None:
        """Its number is higher than the last."""
        self._entries.append(entry)
        self.last = entry.number
        self.size += entry.size
        while len(self._entries) > 1 and (len(self._entries) > MOST_EVENTS or self.size > MOST_BYTES):
            self.drop()

    def drop(self) -> None:
        """Make room; the latest event stays as long as there is another."""
        older = range(len(self._entries) - 1)
        first = next((index for index in older if self._entries[index].binary), 0)
        self.size -= self._entries.pop(first).size

    def after(self, number: int) -> Iterator[Entry[T]]:
        """The events behind that one."""
        start = len(self._entries)
        while start and self._entries[start - 1].number > number:
            start -= 1
        return iter(self._entries[start:])


class Rings(Generic[T]):
    """Of the jobs, by their ids; those of the latest run each."""

    def __init__(self) -> None:
        self._rings: dict[str, Ring[T]] = {}
        self._size = 0

    def get(self, job_id: str) -> Ring[T] | None:
        """The job's, None if it has none."""
        return self._rings.get(job_id)

    def begin(self, job_id: str, run: int) -> Ring[T]:
        """A new ring, in the place of the one of an earlier run."""
        self.end(job_id)
        ring = self._rings[job_id] = Ring(run)
        return ring

    def end(self, job_id: str) -> Ring[T] | None:
        """Remove it; what it was."""
        ring = self._rings.pop(job_id, None)
        self._size -= 0 if ring is None else ring.size
        return ring

    def add(self, job_id: str, entry: Entry[T]) -> None:
        """An event of a job that has a ring; where all rings together are too large, the largest one loses some."""
        self._change(self._rings[job_id], entry)
        while self._size > MOST_BYTES_TOGETHER:
            self._change(max(self._rings.values(), key=lambda ring: ring.size))

    def _change(self, ring: Ring[T], entry: Entry[T] | None = None) -> None:
        before = ring.size
        ring.drop() if entry is None else ring.add(entry)
        self._size += ring.size - before
