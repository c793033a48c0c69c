"""What has come over the control channel of the jobs that somebody in this web worker listens to. No I/O.

A feed is there as long as its job has a listener; many listeners of a job share it. A part of the control link.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from para_attn_server.core.job import JobStatus
from para_attn_server.core.live_ring import Entry, Ring
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import JobUpdate, LiveEvent, LiveMark, OfLive

Place = tuple[int, float | None]
"""Of a queued job: how many start before it, and when it will have ended, by the steady clock."""
_MOVED_SECONDS, _MOVED_PART = 1.0, 0.1


class Feed:
    """One job's. mark: where its live events stand by the controller's word, None before the first of this connection.

    breaks: how many connections have begun or ended. events: of the run that the mark names. rows: a number that grows
    when the store may have more of the job's history. place: the queued job's. update: its last, with the step that it
    has reached. shared: for the listeners, to keep what they all need.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.mark: LiveMark | None = None
        self.events: Ring[LiveEvent] = Ring(0)
        self.rows = self.breaks = 0
        self.place: Place | None = None
        self.update: JobUpdate | None = None
        self.shared: dict[str, Any] = {}
        self._listeners: set[threading.Event] = set()

    def take(self, message: OfLive | JobUpdate) -> None:
        """News of the job."""
        if isinstance(message, LiveEvent):
            self._begin(message.run)
            if message.number > self.events.last:  # else it was sent again
                self.events.add(Entry(message.number, message, len(message.data), message.binary))
        elif isinstance(message, LiveMark):
            self._begin(message.run)
            self.mark = message
        elif isinstance(message, JobUpdate):
            same = self.update is not None and self.update.status == message.status == JobStatus.RUNNING
            self.rows += not (same and self.update is not None and self.update.step <= message.step)
            self.update = message
        else:
            self.rows += 1
        self.wake()

    def _begin(self, run: int) -> None:
        if run != self.events.run:
            self.events = Ring(run)

    def moved(self, place: Place | None) -> None:
        """Its place is that now."""
        if _differs(self.place, place):
            self.place = place
            self.wake()

    def lost(self) -> None:
        """The connection has ended, or begun."""
        self.mark, self.place, self.update = None, None, None
        self.breaks += 1
        self.rows += 1
        self.wake()

    def wake(self) -> None:
        """Have all listeners look."""
        for event in list(self._listeners):
            event.set()

    @property
    def last(self) -> tuple[int, int]:
        """The run, and the number of its last live event that is known of; run 0 where none is under way."""
        if self.mark is None:
            return 0, 0
        return self.mark.run, max(self.mark.last, self.events.last)

    @property
    def ended(self) -> bool:
        """Whether the job's end was reported."""
        return self.update is not None and JobStatus(self.update.status).terminal

    @property
    def listeners(self) -> set[threading.Event]:
        """One event for each."""
        return self._listeners


class Feeds:
    """The feeds of a web worker. Thread-safe. They hold no more than one ring for each job that is listened to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._feeds: dict[str, Feed] = {}

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._feeds

    def jobs(self) -> list[str]:
        """The jobs that somebody listens to."""
        return list(self._feeds)

    @contextmanager
    def listen(self, job_id: str) -> Iterator[tuple[Feed, threading.Event, bool]]:
        """The job's feed, an event that is set when there is something new in it, and whether the feed is new."""
        woken = threading.Event()
        with self._lock:
            new = job_id not in self._feeds
            feed = self._feeds.setdefault(job_id, Feed(job_id))
            feed.listeners.add(woken)
        try:
            yield feed, woken, new
        finally:
            with self._lock:
                feed.listeners.discard(woken)
                if not feed.listeners:
                    self._feeds.pop(job_id, None)

    def take(self, message: OfLive | JobUpdate) -> None:
        """News of a job, if somebody listens to it."""
        feed = self._feeds.get(message.job_id)
        if feed is not None:
            with self._lock:
                feed.take(message)

    def queue(self, places: Mapping[str, Place]) -> None:
        """The queue is like that now."""
        for feed in self._all():
            feed.moved(places.get(feed.job_id))

    def lost(self) -> None:
        """The connection has ended, or begun."""
        for feed in self._all():
            feed.lost()

    def wake_all(self) -> None:
        """Have everybody look."""
        for feed in self._all():
            feed.wake()

    def _all(self) -> Iterable[Feed]:
        with self._lock:
            return list(self._feeds.values())


def _differs(one: Place | None, other: Place | None) -> bool:
    """Whether clients should know: an end drifts by a little all the time."""
    if one is None or other is None or one[0] != other[0] or one[1] is None or other[1] is None:
        return one != other
    return abs(one[1] - other[1]) > max(_MOVED_SECONDS, _MOVED_PART * (other[1] - steady()))
