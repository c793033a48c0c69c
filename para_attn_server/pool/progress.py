"""The steps of running jobs, written now and then: one write of a job at a time is on its way, none is tried again.

A step is written a moment after it is done: the last one comes with the end of its job, and needs no write of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from para_attn_server.core.job import RunId
from para_attn_server.pool.write_queue import Work, WriteQueue
from para_attn_server.stores.base import JobStore

PROGRESS_EVERY = 0.1
"""Seconds between two writes of a job's step to the store; web workers that follow it get each that is reported."""


class ProgressWriter:
    """soon: calls a function a little later, once what is under way is done. clock: monotonic seconds."""

    def __init__(
        self,
        writes: WriteQueue,
        soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writes, self._soon, self._clock = writes, soon, clock
        self._written_at: dict[str, float] = {}
        self._steps: dict[str, tuple[int, int | None, float]] = {}  # on their way: the latest of each job

    def started(self, job_id: str) -> None:
        """The first step is written when it is due, not at once."""
        self._written_at[job_id] = self._clock()

    def stepped(self, job_id: str, run: RunId | None, step: int, total: int | None) -> None:
        """A step is done."""
        waits = job_id in self._steps
        if not waits and self._clock() - self._written_at.get(job_id, 0.0) < PROGRESS_EVERY:
            return
        self._steps[job_id] = step, total, time.time()
        if not waits:
            self._soon(partial(self._write, job_id, run))

    def over(self, job_id: str) -> None:
        """The run is over; its end has the last step."""
        self._written_at.pop(job_id, None)
        self._steps.pop(job_id, None)

    def _write(self, job_id: str, run: RunId | None) -> None:
        if job_id in self._steps:
            self._writes.attempt(partial(self._prepare, job_id, run), lambda _: self._undone(job_id))

    def _undone(self, job_id: str) -> None:
        self._steps.pop(job_id, None)

    def _prepare(self, job_id: str, run: RunId | None) -> Work | None:
        if (latest := self._steps.pop(job_id, None)) is None:
            return None
        self._written_at[job_id] = self._clock()

        def work(store: JobStore) -> None:
            store.progress(job_id, *latest, run=run)

        return work
