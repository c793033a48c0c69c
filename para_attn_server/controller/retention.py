"""Removes old outputs and jobs, and mistrusts a wall clock that jumps.

When something goes is decided here; how a file is removed is `outputs/folder.py`'s business.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from para_attn_server.core import steady as clock
from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import Job, Removal
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()
AT_ONCE = 25
"""Jobs per pass: others must be able to use the store in between."""
LOOK_EVERY = 60.0
"""Seconds between two searches for old jobs."""
SUM_EVERY = 2.0
"""Seconds between two looks at the sum of all outputs."""
AGAIN_AFTER = 1.0
"""Seconds after which a store that refuses is asked again."""
COMPARE_EVERY = 1.0
JUMP = 60.0
"""Seconds between two checks of the clocks, and by which they may drift apart between two checks."""
_CLOCK = "clock"


def settle_clock(store: JobStore) -> None:
    """Let the steady clock go on as it did in an earlier run of this boot."""
    known = store.document(_CLOCK) or {}
    if known.get("boot") != clock.boot_id():
        known = {"boot": clock.boot_id(), "offset": time.time() - clock.boottime()}
        store.put_document(_CLOCK, known)
    clock.set_offset(float(known["offset"]))


class ClockWatch:
    """Whether the wall clock can be trusted with what is old.

    A jump makes it doubtful: until it has jumped back, or until `keep` seconds after the jump. By then every job that
    ended before the jump is old whatever clock is right, and those that ended after it have the new time.
    """

    def __init__(
        self, keep: float, wall: Callable[[], float] = time.time, boottime: Callable[[], float] = clock.boottime
    ) -> None:
        self._keep, self._wall, self._boottime = keep, wall, boottime
        self._trusted = self._latest = wall() - boottime()
        self._jumped_at: float | None = None

    @property
    def doubtful(self) -> bool:
        """True after a jump."""
        return self._jumped_at is not None

    def tick(self) -> None:
        """Compare the clocks; says so once when they come apart, and once when that is over."""
        now = self._boottime()
        apart = self._wall() - now
        before, self._latest = self._latest, apart
        if abs(apart - before) > JUMP:
            if self._jumped_at is None:
                self._trusted = before
            self._jumped_at = now
            if not self._back_again(apart):
                log.warning("the wall clock has jumped; removal of old jobs pauses", seconds=round(apart - before, 1))
        if self._jumped_at is not None and (self._back_again(apart) or now - self._jumped_at >= self._keep):
            self._jumped_at = None
            log.info("removal of old jobs resumes")

    def _back_again(self, apart: float) -> bool:
        return abs(apart - self._trusted) <= JUMP


@dataclass(frozen=True, slots=True)
class Limits:
    """keep: seconds for which ended jobs are kept. keep_outputs: the same for their files, not more than keep.
    max_bytes: most that the files of all jobs may have together, None for any number."""

    keep: float
    keep_outputs: float
    max_bytes: int | None = None


@dataclass(slots=True)
class _Pass:
    """What has been removed since the last line in the log."""

    jobs: int = 0
    bytes: int = 0


class Retention:
    """Removal of outputs and jobs, in slices: files first, each noted in its job's row, then the rows.

    A row is removed only when its files are, so none is left behind. A file that cannot be removed is named in the log,
    and not tried again. Made for a thread of its own: a disk or a store may take its time.
    """

    def __init__(self, store: JobStore, outputs: OutputFolder, limits: Limits, clocks: ClockWatch) -> None:
        self._store, self._outputs, self._limits, self._clocks = store, outputs, limits, clocks
        self._due = self._sum_due = self._compare_at = self._again_at = 0.0
        self._passes = {reason: _Pass() for reason in Removal}

    def tick(self, now: float) -> None:
        """Remove one slice, if it is time. now: monotonic seconds."""
        if now >= self._compare_at:
            self._compare_at = now + COMPARE_EVERY
            self._clocks.tick()
        if now < self._again_at:
            return
        try:
            self._next(now)
        except StoreUnavailable:  # the pool says so
            self._again_at = now + AGAIN_AFTER

    def _next(self, now: float) -> None:
        if jobs := self._to_evict(now):
            self._remove_files(jobs, Removal.EVICTED, None)
            return
        if now < self._due or self._clocks.doubtful:
            return
        wall, steady, keep = time.time(), clock.steady(), self._limits.keep_outputs
        if jobs := self._store.with_outputs(AT_ONCE, wall - keep, steady - keep):
            self._remove_files(jobs, Removal.EXPIRED, wall - keep)
            return
        self._say(Removal.EXPIRED, "old outputs removed")
        if not remove_old_jobs(self._store, wall - self._limits.keep, steady - self._limits.keep):
            self._due = now + LOOK_EVERY

    def _to_evict(self, now: float) -> list[Job]:
        """The next jobs, the longest ended first, without whose outputs all of them fit."""
        if self._limits.max_bytes is None or now < self._sum_due:
            return []
        excess = self._store.output_totals().bytes - self._limits.max_bytes
        chosen: list[Job] = []
        for job in self._store.with_outputs(AT_ONCE) if excess > 0 else ():
            if excess > 0:
                chosen.append(job)
                excess -= sum(output.size for output in job.outputs)
        if not chosen:
            self._say(Removal.EVICTED, "outputs removed to stay within --max-output-bytes")
            self._sum_due = now + SUM_EVERY
        return chosen

    def _say(self, reason: Removal, event: str) -> None:
        """A pass is over: one line, if anything was removed."""
        done, self._passes[reason] = self._passes[reason], _Pass()
        if done.jobs:
            log.info(event, jobs=done.jobs, bytes=done.bytes)

    def _remove_files(self, jobs: list[Job], reason: Removal, before: float | None) -> None:
        removed = _remove_outputs(self._outputs, jobs, before)
        self._passes[reason].bytes += removed
        self._store.outputs_removed([job.id for job in jobs], reason, time.time())
        self._passes[reason].jobs += len(jobs)


def _remove_outputs(outputs: OutputFolder, jobs: list[Job], before: float | None) -> int:
    """Remove the files of these jobs; the bytes that are free now. before: files that were changed later are left
    alone, by default those that were after their job had ended: they are another job's, or a person's."""
    removed = 0
    for job in jobs:
        for output in job.outputs:
            try:
                if outputs.remove(job.id, output, before or job.finished_at or 0.0):
                    removed += output.size
            except OSError as error:
                log.warning("cannot remove an old output", path=output.path, error=str(error))
    return removed


def remove_old_jobs(store: JobStore, moment: float, steady: float) -> bool:
    """Remove jobs that ended before these moments by both clocks; whether more are left. Their files are gone."""
    old = store.ended_before(moment, AT_ONCE, steady)
    if old:
        store.delete(list(old))
        log.info("old jobs removed", jobs=len(old))
    return len(old) == AT_ONCE
