"""The logs of the jobs that run: lines gathered for a moment and written together, so many a job and no more.

The first and the last lines of a job are kept. Of those between them one row says how many there were; it stands where
the first of them stood. Nothing here survives the controller: a job that runs again afterward begins to count anew.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from para_attn_server.pool.transitions import Transition
from para_attn_server.pool.write_queue import Work, WriteQueue
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
    pending: rows to be written; taken: those of them that are on their way.
    """

    first: int = 0
    last: deque[_Row] = field(default_factory=deque)
    gap: int | None = None
    left_out: int = 0
    pending: list[LogRow] = field(default_factory=list)
    taken: list[LogRow] = field(default_factory=list)

    def take(self) -> None:
        """Send the pending rows on their way."""
        self.taken, self.pending = self.pending, []

    def put_back(self) -> None:
        """They have not arrived."""
        self.taken, self.pending = [], self.taken + self.pending
        self.trim()

    def trim(self) -> None:
        """Of too many pending rows the oldest go; one row says how many lines they were."""
        if (over := len(self.pending) - MOST_PENDING) > 0:
            gone = self.pending[: over + 1]
            lost = sum(row.data.get("left_out", 1) for row in gone)
            self.pending[: over + 1] = [LogRow(gone[-1].job_id, "log", gone[-1].at, {"left_out": lost})]

    def leaving(self) -> list[_Row]:
        """The oldest of the last rows, for which there is no place beside those that are on their way."""
        further = max(0, len(self.taken) - (FIRST - self.first))
        return list(islice(self.last, max(0, len(self.last) + further - LAST)))

    def next_gap(self) -> int | None:
        """`gap` once they have left: the first that leaves makes it."""
        return self.gap or next((row.id for row in self.leaving()), None)

    def next_left_out(self) -> int:
        """`left_out` once they have left."""
        return self.left_out + sum(row.lines for row in self.leaving())

    def written(self, ids: Sequence[int]) -> None:
        """The rows on their way are written, under these ids, and those that leave are gone."""
        self.gap, self.left_out, leaving = self.next_gap(), self.next_left_out(), len(self.leaving())
        for _ in range(leaving):
            self.last.popleft()
        rows = [_Row(row_id, row.data.get("left_out", 1)) for row_id, row in zip(ids, self.taken, strict=True)]
        places = FIRST - self.first
        self.first += len(rows[:places])
        self.last += rows[places:]
        self.taken = []


def _nobody(job_id: str) -> None:
    """Where nobody wants to know."""


class LogBatch:
    """Lines of some jobs on their way into the store. Made and settled on the loop, written in the store's thread."""

    def __init__(self, logs: Sequence[_Log], on_written: Callable[[str], None] = _nobody) -> None:
        self._logs, self._on_written = logs, on_written
        for log in logs:
            log.take()
        gaps = {gap: left_out for log in logs if (gap := log.next_gap()) and (left_out := log.next_left_out())}
        removed = [row.id for log in logs for row in log.leaving() if row.id not in gaps]
        self._write = LogWrite([row for log in logs for row in log.taken], removed, gaps)
        self._ids: Sequence[int] = ()

    def write(self, store: JobStore) -> None:
        """In one transaction. Raises StoreUnavailable."""
        self._ids = store.log(self._write)

    def written(self) -> None:
        """It is on record."""
        ids = iter(self._ids)
        for log in self._logs:
            job_ids = {row.job_id for row in log.taken}
            log.written(list(islice(ids, len(log.taken))))
            for job_id in job_ids:
                self._on_written(job_id)

    def undone(self, _: Exception | None = None) -> None:
        """It is not: what was on its way waits again."""
        for log in self._logs:
            log.put_back()


class JobLogs:
    """Keeps within bounds what is written of the jobs' logs. on_written: called with the id of a job that has more."""

    def __init__(self, on_written: Callable[[str], None] = _nobody) -> None:
        self._on_written = on_written
        self._logs: dict[str, _Log] = {}
        self._packed: dict[str, LogBatch] = {}

    def add(self, job_id: str, lines: Sequence[str], left_out: int) -> None:
        """Lines of a running job, for the next batch. left_out: lines before them that nobody has."""
        log = self._logs.setdefault(job_id, _Log())
        now = time.time()
        if left_out:
            log.pending.append(LogRow(job_id, "log", now, {"left_out": left_out}))
        log.pending += [LogRow(job_id, "log", now, {"text": line}) for line in lines]
        log.trim()

    def traceback(self, job_id: str, rank: int, text: str) -> None:
        """Of the exception that the job's run came to."""
        pending = self._logs.setdefault(job_id, _Log()).pending
        pending.append(LogRow(job_id, "traceback", time.time(), {"rank": rank, "text": text}))

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return any(log.pending for log in self._logs.values())

    def batch(self) -> LogBatch | None:
        """What waits, None if nothing does. The next one is made when this one is settled."""
        logs = [log for log in self._logs.values() if log.pending]
        return LogBatch(logs, self._on_written) if logs else None

    def pack(self, job_id: str) -> None:
        """A run is over: what waits of its log is to be written with its end, by `write_with`."""
        log = self._logs.get(job_id)
        if log is not None and log.pending:
            self._packed[job_id] = LogBatch([log])

    def unpack(self, job_id: str) -> None:
        """That end was not written."""
        if (batch := self._packed.pop(job_id, None)) is not None:
            batch.undone()

    def write_with(self, store: JobStore, transition: Transition) -> None:
        """Durable observer: nobody sees the end of a run without all of its log."""
        batch = self._packed.get(transition.job.id)
        if batch is not None and not transition.started:
            batch.write(store)

    def observe(self, transition: Transition) -> None:
        """Settle what was written with it, and forget a job that has ended."""
        batch = None if transition.started else self._packed.pop(transition.job.id, None)
        if batch is not None:
            batch.written()
        if transition.ended:
            self._logs.pop(transition.job.id, None)


class LogWriter:
    """Has written what waits, one batch after the other."""

    def __init__(self, logs: JobLogs, writes: WriteQueue) -> None:
        self._logs, self._writes = logs, writes
        self._asked = False
        self._batch: LogBatch | None = None

    def write(self) -> None:
        """What waits now, unless a batch is on its way."""
        if self._logs.waiting and not self._asked:
            self._asked = True
            self._writes.attempt(self._prepare, self._undone)

    def _prepare(self) -> Work | None:
        self._batch = batch = self._logs.batch()
        if batch is None:
            self._asked = False
            return None

        def work(store: JobStore) -> Callable[[], None]:
            batch.write(store)
            return self._written

        return work

    def _written(self) -> None:
        batch, self._batch, self._asked = self._batch, None, False
        if batch is not None:
            batch.written()

    def _undone(self, _: Exception) -> None:
        batch, self._batch, self._asked = self._batch, None, False
        if batch is not None:
            batch.undone()
