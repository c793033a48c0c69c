"""What has happened to a job is written, though the store may refuse for a while (locked, disk full).

A write that the store refuses is kept and tried again, in order. Nothing here survives the process: a job whose end
was not written is still `running` in the store, and a restart runs it again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import structlog

from para_attn_server.core.errors import IllegalTransition, JobNotFound, StoreUnavailable

log = structlog.get_logger()
Write = Callable[[], object]

LEFT_ALONE = 2.0
"""Seconds for which a store that has refused is left alone: finding out that it still does takes a while each time."""


class WriteQueue:
    """Writes to the store in the order in which they were asked for. clock: monotonic seconds.

    refusal: why the store has refused last, None once it has taken everything again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pending: deque[Write] = deque()
        self._clock = clock
        self._alone_until = 0.0
        self.refusal: StoreUnavailable | None = None

    @property
    def pending(self) -> bool:
        """True while something waits to be written: no time to start new work. Within a write: something more."""
        return bool(self._pending)

    def write(self, write: Write, at_once: bool = False) -> None:
        """Write now, or as soon as the store allows. at_once: try though the store may just have refused."""
        self._pending.append(write)
        if at_once or len(self._pending) == 1:
            self.flush(at_once)

    def try_write(self, write: Write) -> None:
        """Write now, or not at all: for what the next write makes up for."""
        if self._clock() < self._alone_until:
            return
        try:
            write()
        except StoreUnavailable as error:
            self.refused(error)
        except IllegalTransition as error:
            log.warning("skipped progress update", error=str(error))

    def flush(self, at_once: bool = False) -> None:
        """Try what waits again. at_once: though the store may just have refused."""
        while self._pending and (at_once or self._clock() >= self._alone_until):
            write = self._pending.popleft()
            try:
                write()
            except StoreUnavailable as error:
                self._pending.appendleft(write)
                self.refused(error)
                return
            except (IllegalTransition, JobNotFound) as error:
                log.error("ignoring illegal job transition", error=str(error))
            except Exception:  # a fault of this program: it must not hold up everything behind it
                log.exception("failed to record job transition")
            self._accepted()

    def refused(self, error: StoreUnavailable) -> None:
        """The store has refused: leave it alone for a while. Each reason is logged once."""
        self._alone_until = self._clock() + LEFT_ALONE
        if self.refusal is None or str(error) != str(self.refusal):
            log.error("job store unavailable; queued writes will be retried", error=str(error))
        self.refusal = error

    def _accepted(self) -> None:
        if self.refusal is not None and not self._pending:
            self.refusal = None
            log.info("job store is available again")
