"""Removes jobs and outputs that are older than --keep, and mistrusts a wall clock that jumps."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from para_attn_server.core import steady as clock
from para_attn_server.core.job import Output
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()
AT_ONCE = 25
"""Jobs per pass: the controller's loop must not stand still for all of a week's at once."""
LOOK_EVERY = 60.0
"""Seconds between two searches for old jobs."""
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


class Retention:
    """Removal of old jobs, in slices."""

    def __init__(self, store: JobStore, outputs: OutputFolder, keep: float, clocks: ClockWatch) -> None:
        self._store, self._outputs, self._keep, self._clocks = store, outputs, keep, clocks
        self._due = self._compare_at = 0.0

    def tick(self, now: float) -> None:
        """Remove one slice, if it is time. now: monotonic seconds."""
        if now >= self._compare_at:
            self._compare_at = now + COMPARE_EVERY
            self._clocks.tick()
        if now < self._due or self._clocks.doubtful:
            return
        self._due = now + LOOK_EVERY
        if remove_old_jobs(self._store, self._outputs, self._keep):
            self._due = now  # more are left: at the next tick


def remove_old_jobs(store: JobStore, outputs: OutputFolder, keep: float) -> bool:
    """Remove jobs that ended `keep` seconds ago by both clocks, each with its output file; whether more are left."""
    before = time.time() - keep
    old = store.ended_before(before, AT_ONCE, clock.steady() - keep)
    for job_id, output in old.items():
        if output is not None:
            _remove(outputs, job_id, output, before)
    if old:
        store.delete(list(old))
        log.info("old jobs removed", jobs=len(old))
    return len(old) == AT_ONCE


def _remove(outputs: OutputFolder, job_id: str, output: Output, before: float) -> None:
    try:
        outputs.remove(job_id, output, modified_before=before)  # not the newer output of another job at the same path
    except OSError as error:
        log.warning("cannot remove an old output", path=output.path, error=str(error))
