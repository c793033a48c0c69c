"""Removes uploads that no job uses: an hour after they have come, or with the last job that has used them."""

from __future__ import annotations

import time

import structlog

from para_attn_server.core import steady as clock
from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.uploads import UNUSED_FOR
from para_attn_server.inputs.folder import InputFolder
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()
AT_ONCE = 25
"""Uploads per look: their files are removed in the store's own thread."""
LOOK_EVERY = 5.0
SWEEP_EVERY = 600.0
"""Seconds between two looks for uploads, and for files that nobody receives any more."""


class UploadRetention:
    """Made for a thread of its own: a disk or a store may take its time. What fails is tried again at the next look."""

    def __init__(self, store: JobStore, folder: InputFolder) -> None:
        self._store, self._folder = store, folder
        self._due = self._sweep_due = 0.0

    def tick(self, now: float) -> None:
        """Remove some, if it is time. now: monotonic seconds."""
        if now >= self._sweep_due:
            self._sweep_due = now + SWEEP_EVERY
            self._folder.sweep(time.time())
        if now < self._due:
            return
        self._due = now + LOOK_EVERY
        before = time.time() - UNUSED_FOR, clock.steady() - UNUSED_FOR
        try:
            removed = self._store.remove_uploads(*before, AT_ONCE, self._folder.unlink)
        except StoreUnavailable:  # the pool says so
            return
        except OSError as error:
            log.warning("cannot remove an upload", error=error.strerror)
            return
        if removed:
            log.info("uploads removed", uploads=removed)
        if removed == AT_ONCE:
            self._due = now
