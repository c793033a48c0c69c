"""A job's life as a stream of events: the rows of its history, and between them what is live.

Durable events are rows of the store: queued, started, log, requeued, succeeded and so on. Live ones pass by: the place
in the queue, steps, and what the predictor emits. The id of an event says what was seen up to it of both kinds, so a
stream goes on behind any id, in any web worker: rows are replayed, live events as far as the controller has kept them;
one `snapshot` reports what is lost.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from para_attn_server.core.errors import JobNotFound, StoreUnavailable
from para_attn_server.core.job import Event, Job, JobStatus
from para_attn_server.core.live_ring import Entry
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import LiveEvent, LiveMark
from para_attn_server.service.budget import Budget
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.feeds import Feed, Place
from para_attn_server.service.live_jobs import LiveJobs
from para_attn_server.service.rows import Rows
from para_attn_server.stores.base import JobStore

HEARTBEAT = 15.0
"""Seconds of silence after which a stream yields None."""
LOOK_DOWN = 1.0
"""Seconds between two looks at the store while the controller is away."""
LAST_EVENTS_WITHIN = 1.0
"""Seconds that the last live events may come after the job's end is seen in the store."""
SNAPSHOT = "snapshot"
ENDS = frozenset(status.value for status in JobStatus if status.terminal)
_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Cursor:
    """What was seen: the rows up to that one, and of that run the live events up to that number."""

    row: int = 0
    run: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.row}.{self.run}-{self.number}"


@dataclass(frozen=True, slots=True)
class JobEvent:
    """id: to go on behind it. at: Unix seconds. data: JSON values; None where base64 has what a predictor has emitted
    as bytes."""

    id: str
    type: str
    at: float
    data: Any
    base64: str | None = None

    @property
    def last(self) -> bool:
        """Whether nothing follows: the job has ended."""
        return self.type in ENDS


Stream = Iterator[JobEvent | None]
"""None: nothing has happened for HEARTBEAT seconds."""


class JobEvents:
    """places: for those who listen. Without one a stream has what is there, and ends."""

    def __init__(self, store: JobStore, control: ControlClient, jobs: LiveJobs, places: Budget) -> None:
        self._store, self._control, self._jobs, self._places = store, control, jobs, places
        self.stopping = False

    def stream(self, job: Job, after: str | None) -> Stream | None:
        """The job's events behind that id, until it has ended; None where it has, and that was seen.

        An id that is not known counts as one that was seen long ago: a snapshot, then what comes from now on. Raises
        StoreUnavailable.
        """
        cursor = Cursor() if after is None else _cursor(after)
        if cursor is None or (cursor.row and not self._store.news(job.id, cursor.row - 1, 1)):
            return self._stream(job, Cursor(self._before_last(job)), unknown=True)
        if job.status.terminal and cursor.row and not self._store.news(job.id, cursor.row, 1):
            return None
        return self._stream(job, cursor, unknown=False)

    def _before_last(self, job: Job) -> int:
        """The job's last row so far, the one before its end where it has ended."""
        history = self._store.history(job.id)[: -1 if job.status.terminal else None]
        return history[-1].id if history else 0

    def _stream(self, job: Job, cursor: Cursor, unknown: bool) -> Stream:
        started = [row for row in self._store.history(job.id) if row.type == "started" and row.id <= cursor.row]
        run = started[-1].data.get("run", 0) if started else 0
        return self._listened(job, lambda feed, alone: Listener(self, job, feed, cursor, run, unknown, alone))

    def _listened(self, job: Job, listener: Callable[[Feed, bool], Listener]) -> Stream:
        with self._places.place() as free:
            if job.status.terminal or not free:
                yield from listener(Feed(job.id), True).look()
                return
            with self._control.listen(job.id) as (feed, woken):
                yield from self._follow(listener(feed, False), woken)

    def _follow(self, listener: Listener, woken: threading.Event) -> Stream:
        # Registered first, then looked: a change in between is seen by one of the two.
        said_at = time.monotonic()
        while True:
            woken.clear()
            for event in listener.look():
                said_at = time.monotonic()
                yield event
            left = said_at + HEARTBEAT - time.monotonic()
            if listener.ended or self.stopping or listener.deleted(left <= 0):
                return
            if left <= 0:
                said_at = time.monotonic()
                yield None
                continue
            up = self._control.connected and not listener.blind
            if not woken.wait(listener.hold(left if up else min(left, LOOK_DOWN))):
                listener.look_anew = True

    # --- for listeners ---

    def rows(self, feed: Feed, after: int, anew: bool) -> list[Event]:
        """Rows behind that one. Raises StoreUnavailable."""
        shared: Rows = feed.shared.setdefault("rows", Rows(self._store, feed.job_id))
        return shared.after(after, feed.rows, anew)

    def row(self, job_id: str) -> Job:
        """The job now. Raises JobNotFound or StoreUnavailable."""
        return self._jobs.row(job_id)

    def eta(self, job: Job) -> float | None:
        """Seconds until the running job ends."""
        return self._jobs.listed(job).eta_seconds

    @property
    def connected(self) -> bool:
        """Whether the controller is on the line now."""
        return self._control.connected


class Listener:
    """One stream's place in a job's life.

    run: the one that was under way at its beginning, or the last one. unknown: the id that it began with was not known.
    alone: nothing comes over the control channel. blind: the store could not be read. ended: the last event is out.
    look_anew: look at the store though nothing was heard.
    """

    def __init__(
        self, parent: JobEvents, job: Job, feed: Feed, cursor: Cursor, run: int, unknown: bool, alone: bool
    ) -> None:
        self._parent, self._job, self._feed, self._cursor, self._alone = parent, job, feed, cursor, alone
        self._unknown, self._unsure = unknown, cursor.number > 0  # whether live events are lost is not known yet
        self._said_lost = False  # that they are, since the last one
        self._from_now = unknown  # live events before the first mark are left out
        self._breaks = feed.breaks
        self._run, self._status = run, job.status
        self._step: tuple[int, int | None] = (0, None)
        self._place: Place | None = None
        self._ends_by: float | None = None
        self._before_end: set[int] = set()  # rows behind that of the end, which went out before it
        self.ended = self.blind = False
        self.look_anew = True

    def hold(self, seconds: float) -> float:
        """How long to wait for news, of that time."""
        return seconds if self._ends_by is None else max(0.0, min(seconds, self._ends_by - time.monotonic()))

    def deleted(self, check: bool) -> bool:
        """Whether the job is not there any more, which is looked up where it has ended, and to check."""
        try:
            if check or self._feed.ended:
                self._parent.row(self._job.id)
        except JobNotFound:
            return True
        except StoreUnavailable:
            self.blind = True
        return False

    def look(self) -> Iterator[JobEvent]:
        """What is new."""
        if self._unknown:
            self._unknown = False
            yield self._snapshot(None)
        for row, seen in self._rows():
            if row.type in ENDS or row.type == "requeued":
                if not self._complete():
                    break  # its last live events are on their way
                yield from self._live(closing=True)
                yield from self._steps()
            yield self._of_row(row, seen)
        if not self.ended:
            yield from self._live()
            yield from self._steps()
            yield from self._queued()

    def _rows(self) -> Iterator[tuple[Event, int]]:
        """New rows, the end of the job last: the end of its log is recorded with it, behind it. With each, the row up
        to which all were seen then."""
        anew, self.look_anew = self.look_anew, False
        try:
            while rows := self._parent.rows(self._feed, self._cursor.row, anew):
                end = next((row for row in rows if row.type in ENDS), None)
                while end is not None and (more := self._parent.rows(self._feed, rows[-1].id, anew)):
                    rows += more
                for row in rows:
                    if end is None or row.id < end.id:
                        yield row, row.id
                    elif row is not end and row.id not in self._before_end:
                        self._before_end.add(row.id)
                        yield row, self._cursor.row
                if end is not None:
                    yield end, rows[-1].id
                if self._cursor.row != rows[-1].id:
                    return
                anew = False
            self.blind = False
        except StoreUnavailable:
            self.blind = True

    def _complete(self) -> bool:
        """Whether no live event of the run that is over is still to be expected."""
        now, mark = time.monotonic(), self._feed.mark
        self._ends_by = self._ends_by or now + LAST_EVENTS_WITHIN
        if self._alone or self._feed.ended or now >= self._ends_by or not self._parent.connected:
            return True
        return mark is not None and (mark.over or mark.run != self._run)

    def _of_row(self, row: Event, seen: int) -> JobEvent:
        self._cursor, self._ends_by = replace(self._cursor, row=seen), None
        if row.type in ("queued", "requeued"):
            self._status, self._place = JobStatus.QUEUED, None
        elif row.type == "started":
            self._status, self._step, self._run = JobStatus.RUNNING, (0, None), row.data.get("run", self._run)
        self.ended = row.type in ENDS
        return self._event(row.type, row.at, row.data)

    def _event(self, kind: str, at: float, data: Any, base64: str | None = None) -> JobEvent:
        return JobEvent(str(self._cursor), kind, at, data, base64)

    def _snapshot(self, skipped: int | None) -> JobEvent:
        return self._event(SNAPSHOT, time.time(), {"skipped": skipped})

    def _live(self, closing: bool = False) -> Iterator[JobEvent]:
        """What the predictor has emitted, and what of it is lost. closing: nothing more is waited for."""
        feed = self._feed
        if feed.breaks != self._breaks:
            self._breaks, self._unsure = feed.breaks, self._cursor.number > 0 and not self._said_lost
        if feed.mark is None and not closing:
            return
        run, last = feed.last
        if self._from_now:
            self._from_now, self._cursor = False, replace(self._cursor, run=run, number=last)
        if self._unsure:
            self._unsure = False
            if run != self._cursor.run or last < self._cursor.number:
                self._said_lost = True
                yield self._snapshot(None)
        if feed.events.run > self._run and not self.blind:
            return  # the run has a row, which comes first
        if feed.events.run > self._cursor.run:
            self._cursor = replace(self._cursor, run=feed.events.run, number=0)
        if feed.events.run == self._cursor.run:
            yield from self._emitted(list(feed.events.after(self._cursor.number)), feed.mark)

    def _emitted(self, entries: list[Entry[LiveEvent]], mark: LiveMark | None) -> Iterator[JobEvent]:
        for entry in entries:
            yield from self._gap(entry.number - 1)
            event, self._said_lost = entry.value, False
            self._cursor = replace(self._cursor, number=event.number)
            data = None if event.binary else json.loads(event.data)
            yield self._event(event.kind, event.at, data, event.data if event.binary else None)
        if mark is not None and mark.over and mark.run == self._cursor.run:
            yield from self._gap(mark.last)

    def _gap(self, up_to: int) -> Iterator[JobEvent]:
        """The live events up to that one, where they were not seen, are lost."""
        if (lost := up_to - self._cursor.number) > 0:
            self._cursor = replace(self._cursor, number=up_to)
            yield self._snapshot(lost)

    def _steps(self) -> Iterator[JobEvent]:
        if self._status is not JobStatus.RUNNING:
            return
        update = self._feed.update
        if update is None or update.status != JobStatus.RUNNING or (update.step, update.total_steps) == self._step:
            return
        self._step = update.step, update.total_steps
        if update.step:
            data = {"step": update.step, "total_steps": update.total_steps, "eta_seconds": self._eta()}
            yield self._event("step", time.time(), data)

    def _eta(self) -> float | None:
        try:
            eta = self._parent.eta(self._parent.row(self._job.id))
        except Exception:  # it is of no use to anybody whose stream ends for it
            return None
        return None if eta is None else round(eta, 3)

    def _queued(self) -> Iterator[JobEvent]:
        place = self._feed.place
        if self._status is JobStatus.QUEUED and place is not None and place != self._place:
            self._place = place
            before, ends = place
            eta = None if ends is None else round(max(0.0, ends - steady()), 3)
            yield self._event("position", time.time(), {"queue_position": before, "eta_seconds": eta})


def _cursor(text: str) -> Cursor | None:
    found = _CURSOR.fullmatch(text)
    return None if found is None else Cursor(*map(int, found.groups()))
