"""The logs of the jobs that run: lines gathered for a moment and written together, so many a job and no more.

The first and the last lines of a job are kept. Of those between them one row says how many there were; it stands where
the first of them stood. Nothing here survives the controller: a job that runs again afterward begins to count anew.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from para_attn_server.pool.transitions import Transition
from para_attn_server.stores.base import JobStore, LogRow, LogWrite

FIRST, LAST = 1000, 1000
"""Lines of a job that are kept: the first, and the last of those after them."""
MOST_PENDING = 500
"""Rows of a job that may wait to be written, where the store refuses for a while; the oldest go first."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that is written. lines: how many it stands for."""

    id: int
    lines: int


@dataclass(slots=True)
class _Log:
    """One job's. first: how many of its first rows are written; last: the rows after them, oldest first.

    gap: the id of the row that stands for what is left out between them, and how many lines that is.
    """

    first: int = 0
    last: deque[_Row] = field(default_factory=deque)
    gap: int | None = None
    left_out: int = 0
    pending: list[LogRow] = field(default_factory=list)

    def leaving(self) -> list[_Row]:
        """The oldest of the last rows, for which there is no place beside those that are pending."""
        further = max(0, len(self.pending) - (FIRST - self.first))
        return list(islice(self.last, max(0, len(self.last) + further - LAST)))

    def next_gap(self) -> int | None:
        """`gap` once they have left: the first that leaves makes it."""
        return self.gap or next((row.id for row in self.leaving()), None)

    def next_left_out(self) -> int:
        """`left_out` once they have left."""
        return self.left_out + sum(row.lines for row in self.leaving())

    def written(self, ids: Sequence[int]) -> None:
        """The pending rows are written, under these ids, and those that leave are gone."""
        self.gap, self.left_out, leaving = self.next_gap(), self.next_left_out(), len(self.leaving())
        for _ in range(leaving):
            self.last.popleft()
        rows = [_Row(row_id, row.data.get("left_out", 1)) for row_id, row in zip(ids, self.pending, strict=True)]
        places = FIRST - self.first
        self.first += len(rows[:places])
        self.last += rows[places:]
        self.pending.clear()


class JobLogs:
    """Keeps within bounds what is written of the jobs' logs."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._logs: dict[str, _Log] = {}

    def add(self, job_id: str, lines: Sequence[str], left_out: int) -> None:
        """Lines of a running job, written at the next `flush`. left_out: lines before them that nobody has."""
        pending = self._logs.setdefault(job_id, _Log()).pending
        now = time.time()
        if left_out:
            pending.append(LogRow(job_id, "log", now, {"left_out": left_out}))
        pending += [LogRow(job_id, "log", now, {"text": line}) for line in lines]
        if (over := len(pending) - MOST_PENDING) > 0:
            lost = sum(row.data.get("left_out", 1) for row in pending[: over + 1])
            pending[: over + 1] = [LogRow(job_id, "log", now, {"left_out": lost})]

    def traceback(self, job_id: str, rank: int, text: str) -> None:
        """Of the exception that the job's run came to."""
        pending = self._logs.setdefault(job_id, _Log()).pending
        pending.append(LogRow(job_id, "traceback", time.time(), {"rank": rank, "text": text}))

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return any(log.pending for log in self._logs.values())

    def flush(self) -> None:
        """Write what waits, in one transaction; raises StoreUnavailable where the store refuses, and keeps it."""
        logs = [log for log in self._logs.values() if log.pending]
        if not logs:
            return
        gaps = {gap: left_out for log in logs if (gap := log.next_gap()) and (left_out := log.next_left_out())}
        removed = [row for log in logs for row in log.leaving() if row.id not in gaps]
        rows = [row for log in logs for row in log.pending]
        ids = iter(self._store.log(LogWrite(rows, [row.id for row in removed], gaps)))
        for log in logs:
            log.written(list(islice(ids, len(log.pending))))

    def observe(self, transition: Transition) -> None:
        """Forget a job that has ended: its lines are written."""
        if transition.ended:
            self._logs.pop(transition.job.id, None)
