"""The rows of a job's history as its listeners read them: the newest ones are read once for all of them."""

from __future__ import annotations

import threading
import time

from para_attn_server.core.job import Event
from para_attn_server.stores.base import JobStore

AT_ONCE = 200
"""Rows that are read in one go: the web worker has others to serve meanwhile."""
KEPT = 64
ANEW_AFTER = 0.5
"""Seconds for which what was read holds, where nothing was heard."""


class Rows:
    """Of one job. Thread-safe."""

    def __init__(self, store: JobStore, job_id: str) -> None:
        self._store, self._job_id = store, job_id
        self._lock = threading.Lock()
        self._rows: list[Event] = []
        self._base = self._read_to = 0  # between them lie the rows that are kept
        self._version: int | None = None
        self._read_at = 0.0

    def after(self, row_id: int, version: int, anew: bool) -> list[Event]:
        """Some rows behind that one, in order; none where there are no more. Raises StoreUnavailable.

        version: a number that changes when there may be more rows. anew: look, whatever it says.
        """
        with self._lock:
            if self._version is None:
                self._base = self._read_to = row_id
            if version != self._version or (anew and time.monotonic() - self._read_at > ANEW_AFTER):
                self._read(version)
            if row_id < self._base:
                return self._store.news(self._job_id, row_id, AT_ONCE)
            return [row for row in self._rows if row.id > row_id]

    def _read(self, version: int) -> None:
        found = self._store.news(self._job_id, self._read_to, AT_ONCE)
        self._read_at = time.monotonic()
        if len(found) < AT_ONCE:
            self._version = version
        elif self._version is None:
            self._version = -1
        if found:
            self._rows += found
            self._read_to = found[-1].id
        if (over := len(self._rows) - KEPT) > 0:
            self._base = self._rows[over - 1].id
            del self._rows[:over]
