"""What is still written of jobs whose runs are over, while their group does other jobs: the phase `writing` of a job.

A job in it is `running` still, and its end is made as any other (pool/ending.py); the group's own phases know only
whether there is room for a further one. Deadline, job timeout and cancel end the job at once. Its place is taken until
rank zero has let it go: where an encoder never does, the group is rebuilt once only such places are left.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from para_attn_server.core.errors import JobError
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.ranks import Failed, StopWriting, Unwritten, Written
from para_attn_server.pool.run import EXPIRY, JobRun, Lost, StopOrder, StopReason, timeout
from para_attn_server.stores.base import Progress

if TYPE_CHECKING:
    from para_attn_server.pool.phases.phase import GroupParts

log = structlog.get_logger()

MOST_JOBS = 2
MOST_BYTES = 2**30
"""Of results that wait in rank zero of a group; a single one may be larger."""
SILENCE = 300.0
"""Seconds without a sign of life after which an encoder counts as hung; --step-timeout where that is less."""
LOOK_EVERY = 0.5
"""Seconds between two looks at what it writes."""


@dataclass(slots=True)
class Writing:
    """A run whose ranks are free. progress: its last step. ended_at: when its job has ended, though rank zero has not
    let go of it yet."""

    run: JobRun
    progress: Progress
    alive_at: float
    ended_at: float | None = None
    looked_at: float = 0.0
    seen: tuple[tuple[str, int, int], ...] = ()

    def look(self, now: float) -> None:
        """A change of what is in the job's folder is a sign of life."""
        self.looked_at = now
        if (seen := _content(self.run.part.parent)) != self.seen:
            self.seen, self.alive_at = seen, now


class Writings:
    """Of one group. Reports to its outbox, as the group does."""

    def __init__(self, group: GroupParts) -> None:
        self._group = group
        self._all: dict[int, Writing] = {}

    @property
    def live(self) -> list[JobRun]:
        """The runs whose jobs have not ended, the oldest first."""
        return [writing.run for writing in self._live()]

    @property
    def room(self) -> bool:
        """Whether a further run may add to them."""
        held = sum(writing.run.held or 0 for writing in self._all.values())
        return len(self._all) < MOST_JOBS and held < MOST_BYTES and not any(run.alone for run in self.live)

    def stuck(self, now: float) -> bool:
        """Whether nothing but encoders that do not stop is in the way of a further run."""
        ends = [writing.ended_at for writing in self._all.values() if writing.ended_at is not None]
        return not self.room and not self.live and now - max(ends) >= self._group.timeouts.cancel

    def begin(self, run: JobRun, progress: Progress) -> None:
        """All ranks have left the run, and rank zero holds its result; one that is not wanted is let go."""
        self._all[run.serial] = writing = Writing(run, progress, self._group.clock())
        if run.is_unwritten and run.stop_order is None:
            self._group.outbox.post(self._group.listener.run_writing, run.job_id)
        else:
            self._leave(writing)

    def end(self, message: Written | Unwritten) -> bool:
        """Rank zero has let one go; whether it was one of these."""
        writing = self._all.pop(message.serial, None)
        if writing is not None and writing.ended_at is None:
            run, outbox, listener = writing.run, self._group.outbox, self._group.listener
            run.writing_end = message
            if isinstance(message, Unwritten) and message.error is not None:
                cause = Failed(run.serial, 0, 0, message.error, False, message.traceback)
                outbox.post(listener.run_failed, run.job_id, cause)
            self._report(writing)
        return writing is not None

    def tick(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        for writing in self._live():
            if (order := self._due(writing, now)) is not None:
                self._stop(writing, order)

    def stop(self, job_id: str, order: StopOrder) -> None:
        """End that job."""
        for writing in self._live():
            if writing.run.job_id == job_id:
                self._stop(writing, order)

    def lost(self, lost: Lost) -> None:
        """No rank of the group is left."""
        runs, self._all = self.live, {}
        for run in runs:
            self._group.outbox.post(self._group.listener.writing_lost, run.job_id, lost)

    def _live(self) -> list[Writing]:
        return [writing for writing in self._all.values() if writing.ended_at is None]

    def _due(self, writing: Writing, now: float) -> StopOrder | None:
        run, limits = writing.run, self._group.timeouts
        if run.expires is not None and steady() >= run.expires:
            return EXPIRY
        if limits.job is not None and now - run.started >= limits.job:
            return timeout(limits.job, run.step)
        if now - writing.looked_at >= LOOK_EVERY:
            writing.look(now)
        silence = now - writing.alive_at
        if silence <= min(SILENCE, limits.step) or self._group.ranks.stopped == 0:
            return None  # a rank that is stopped is the group's to find: its job is done again
        return _hang(silence, run.step)

    def _stop(self, writing: Writing, order: StopOrder) -> None:
        run = writing.run
        log.info("output is not written", group=self._group.index, **run.names, reason=order.reason)
        run.stop_order = order
        self._report(writing)
        self._leave(writing)

    def _report(self, writing: Writing) -> None:
        """The end of its job."""
        outbox, listener = self._group.outbox, self._group.listener
        self._group.changed()
        outcome = writing.run.outcome()
        if isinstance(outcome, Lost):
            outbox.post(listener.writing_lost, writing.run.job_id, outcome)
        else:
            outbox.post(listener.run_ended, writing.run.job_id, outcome, writing.progress)

    def _leave(self, writing: Writing) -> None:
        writing.ended_at = self._group.clock()
        self._group.ranks.send(0, StopWriting(writing.run.serial))


def _hang(silence: float, step: int) -> StopOrder:
    message = f"its output was not written: no progress for {silence:.1f} s"
    return StopOrder(StopReason.TIMEOUT, JobError("hang", message, 0, step))


def _content(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What differs when an encoder works: names, sizes and times of the files, and the folder's own."""
    try:
        with os.scandir(folder) as found:
            files = [(entry.name, entry.stat(follow_symlinks=False)) for entry in found]
        own = folder.stat().st_mtime_ns
    except OSError:
        return ()
    return ((".", 0, own), *sorted((name, status.st_size, status.st_mtime_ns) for name, status in files))
