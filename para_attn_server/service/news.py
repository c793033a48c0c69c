"""The latest live news per job, and who waits for them. No I/O; a part of the control link."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from para_attn_server.core.job import JobStatus
from para_attn_server.core.wire.control import JobUpdate

_KEPT = 256


@dataclass(frozen=True, slots=True)
class JobNews:
    """A job's latest update. life: a number that changes with its status and with the connection, so that a row read
    under the same number still holds except for its step. followed: its steps have been asked for."""

    update: JobUpdate
    life: int
    followed: bool = False


class News:
    """Bounded memory of JobUpdates. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._life = 0
        self._by_job: OrderedDict[str, JobNews] = OrderedDict()
        self._watchers: dict[str, set[threading.Event]] = {}

    def get(self, job_id: str) -> JobNews | None:
        """The latest, None if there was none (or too many of other jobs since)."""
        return self._by_job.get(job_id)

    def put(self, update: JobUpdate) -> None:
        """Keep an update; wakes the job's watchers when it has ended."""
        with self._lock:
            before = self._by_job.get(update.job_id)
            if before is not None and before.update.status == update.status and before.update.step <= update.step:
                self._by_job[update.job_id] = JobNews(update, before.life, before.followed)
                return
            self._life += 1
            self._by_job[update.job_id] = JobNews(update, self._life)
            self._by_job.move_to_end(update.job_id)
            if len(self._by_job) > _KEPT:
                self._by_job.popitem(last=False)
            if JobStatus(update.status).terminal:
                for event in self._watchers.get(update.job_id, ()):
                    event.set()

    def follow(self, job_id: str) -> bool:
        """Whether a running job's steps are to be asked for now; noted as done where there was news of it."""
        with self._lock:
            news = self._by_job.get(job_id)
            if news is None:  # none since the connection began
                return True
            if news.followed or news.update.status != JobStatus.RUNNING:
                return False
            self._by_job[job_id] = replace(news, followed=True)
            return True

    def reset(self) -> None:
        """Forget everything (a connection begins or ends) and wake all."""
        with self._lock:
            self._by_job.clear()
        self.wake_all()

    def wake_all(self) -> None:
        """Wake every watcher, so that it checks again."""
        with self._lock:
            for events in self._watchers.values():
                for event in events:
                    event.set()

    @contextmanager
    def watch(self, job_id: str) -> Iterator[threading.Event]:
        """An event that is set when the job has ended, and by wake_all()."""
        event = threading.Event()
        with self._lock:
            self._watchers.setdefault(job_id, set()).add(event)
        try:
            yield event
        finally:
            with self._lock:
                events = self._watchers[job_id]
                events.discard(event)
                if not events:
                    del self._watchers[job_id]
