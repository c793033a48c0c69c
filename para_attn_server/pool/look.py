"""Looks at the store for what no hint has announced, and ends queued jobs whose deadline has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from para_attn_server.core.job import Job
from para_attn_server.core.steady import steady
from para_attn_server.pool.job_queue import READ_AT_ONCE, JobQueue, read_queued
from para_attn_server.pool.run import EXPIRED
from para_attn_server.pool.transitions import Transitions
from para_attn_server.pool.write_queue import Work, WriteQueue
from para_attn_server.stores.base import JobStore

EXPIRED_AT_ONCE = 50
"""Queued jobs past their deadline that are ended in one go: others must be able to write in between."""


class Look:
    """on_found: called when there are jobs that were not known. At most one look is on its way, and one expiry."""

    def __init__(
        self,
        queue: JobQueue,
        writes: WriteQueue,
        transitions: Transitions,
        on_found: Callable[[], None],
    ) -> None:
        self._queue, self._writes, self._transitions = queue, writes, transitions
        self._on_found = on_found
        self._version = -1
        self._looking = self._expiring = False

    @property
    def more_to_expire(self) -> bool:
        """Whether deadlines have passed of jobs that are still queued."""
        return self._queue.any_overdue(steady())

    def look(self) -> None:
        """For new jobs, where another handle has written since the last look."""
        if not self._looking:
            self._looking = True
            self._writes.attempt(lambda: partial(self._read, self._version, self._queue.seen), self._not_looked)

    def expire(self) -> None:
        """Fail queued jobs whose deadline has passed; not all of very many at once, and the rest at the next ticks."""
        if not self._expiring and self.more_to_expire:
            self._expiring = True
            self._writes.attempt(self._expire, self._not_expired)

    def _read(self, known: int, seen: int, store: JobStore) -> Callable[[], None]:
        """In the store's thread: the number of changes first, so that none is missed."""
        version = store.changes()
        jobs = [] if version == known else read_queued(store, seen)
        return partial(self._found, version if len(jobs) < READ_AT_ONCE else -1, jobs)

    def _found(self, version: int, jobs: list[Job]) -> None:
        self._looking, self._version = False, version
        self._queue.found(jobs)
        if jobs:
            self._on_found()

    def _not_looked(self, _: Exception) -> None:
        self._looking = False

    def _expire(self) -> Work:
        now, passed = time.time(), steady()
        make = self._transitions.work(lambda store: store.expire(EXPIRED, passed, now, EXPIRED_AT_ONCE))

        def work(store: JobStore) -> Callable[[], None]:
            return partial(self._expired, make(store), passed)

        return work

    def _expired(self, report: Callable[[], None], passed: float) -> None:
        self._expiring, before = False, len(self._queue)
        report()
        if len(self._queue) == before:  # the store has none of them as queued
            self._queue.forget_overdue(passed)

    def _not_expired(self, _: Exception) -> None:
        self._expiring = False
