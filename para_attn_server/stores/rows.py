"""The rows of the store in memory, and transactions over them.

Every write goes through `Rows.put`, which notes how to take it back. This module knows nothing of jobs' lives.
"""

from __future__ import annotations

import itertools
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.uploads import Upload

K = TypeVar("K")
V = TypeVar("V")


class Request(NamedTuple):
    """What came with a job and is not in `Job`. arguments: as JSON."""

    arguments: str
    key: str | None
    digest: str | None


class EventRow(NamedTuple):
    """An event; its data as JSON, so that no reader can change what is stored."""

    id: int
    job_id: str
    type: str
    at: float
    data: str


class UploadRow(NamedTuple):
    """An upload, when it came by the steady clock, and whether a job has used it."""

    upload: Upload
    steady: float
    used: bool


class Numbered(dict[int, V]):
    """A mapping from numbers, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def __setitem__(self, number: int, row: V) -> None:
        if number not in self:
            insort(self.numbers, number)
        super().__setitem__(number, row)

    def __delitem__(self, number: int) -> None:
        super().__delitem__(number)
        del self.numbers[bisect_left(self.numbers, number)]

    def after(self, number: int) -> Iterator[V]:
        """The rows of greater numbers."""
        return (self[found] for found in self.numbers[bisect_right(self.numbers, number) :])


class Rows:
    """All that a store in memory holds. Its handles share it; whoever holds `lock` has it alone."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.jobs: dict[str, Job] = {}
        self.by_status: dict[JobStatus, Numbered[Job]] = {status: Numbered() for status in JobStatus}
        self.requests: dict[str, Request] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.events: dict[str, Numbered[EventRow]] = {}
        self.job_of_event: dict[int, str] = {}
        self.documents: dict[str, str] = {}
        self.totals: dict[str, int] = {}
        self.uploads: dict[tuple[str, str], UploadRow] = {}
        self.seqs, self.event_ids = itertools.count(1), itertools.count(1)
        self.commits = 0
        self._writer: object = None
        self._undo: list[tuple[MutableMapping[Any, Any], Any, Any]] = []

    @contextmanager
    def transaction(self, handle: object) -> Iterator[None]:
        """What is put within counts as a whole, or not at all where anything raises. One within another joins it."""
        with self.lock:
            if self._writer is handle:
                yield
                return
            if self._writer is not None:  # the same thread: another one waits for the lock
                raise StoreUnavailable("another handle of this store is in the middle of a transaction")
            self._writer = handle
            try:
                yield
                self.commits += bool(self._undo)
            except BaseException:
                for table, key, old in reversed(self._undo):
                    _put(table, key, old)
                raise
            finally:
                self._writer = None
                self._undo.clear()

    def put(self, table: MutableMapping[K, V], key: K, value: V | None) -> None:
        """Write a row, or remove it where the value is None. In a transaction only."""
        self._undo.append((table, key, table.get(key)))
        _put(table, key, value)

    def delete(self, job: Job) -> None:
        """A job with all that belongs to it."""
        key = self.requests[job.id].key
        if key is not None:
            self.put(self.keys, (job.owner, key), None)
        for event_id in self.events[job.id]:
            self.put(self.job_of_event, event_id, None)
        self.put(self.events, job.id, None)
        self.put(self.requests, job.id, None)
        self.put(self.by_status[job.status], job.seq, None)
        self.put(self.jobs, job.id, None)

    def add_event(self, job_id: str, kind: str, at: float, data: str) -> int:
        """Its id. data: as JSON."""
        row = EventRow(next(self.event_ids), job_id, kind, at, data)
        self.put(self.events[job_id], row.id, row)
        self.put(self.job_of_event, row.id, job_id)
        return row.id

    def change_event(self, event_id: int, data: str | None) -> None:
        """Other data; without any the event is removed."""
        job_id = self.job_of_event.get(event_id)
        if job_id is not None and data is not None:
            self.put(self.events[job_id], event_id, self.events[job_id][event_id]._replace(data=data))
        elif job_id is not None:
            self.put(self.events[job_id], event_id, None)
            self.put(self.job_of_event, event_id, None)


def _put(table: MutableMapping[K, V], key: K, value: V | None) -> None:
    if value is not None:
        table[key] = value
    elif key in table:
        del table[key]
