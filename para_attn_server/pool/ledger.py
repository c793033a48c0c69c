"""What has happened to a job is written, though the store may refuse for a while (locked, disk full).

A write that the store refuses is kept and tried again, in order. Nothing here survives the process: a job whose end
was not written is still `running` in the store, and a restart runs it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from para_attn_server.core.errors import IllegalTransition, JobNotFound, StateDirError

log = structlog.get_logger()
Write = Callable[[], None]


class Ledger:
    """Writes to the store in the order in which they were asked for."""

    def __init__(self) -> None:
        self._pending: deque[Write] = deque()

    @property
    def behind(self) -> bool:
        """True while something waits to be written: no time to start new work."""
        return bool(self._pending)

    def must(self, write: Write) -> None:
        """Write now, or as soon as the store allows."""
        self._pending.append(write)
        if len(self._pending) == 1:
            self.catch_up()

    def may(self, write: Write) -> None:
        """Write now, or not at all: for what the next write makes up for."""
        try:
            write()
        except (StateDirError, IllegalTransition) as error:
            log.warning("not written", error=str(error))

    def catch_up(self) -> None:
        """Try what waits again."""
        while self._pending:
            try:
                self._pending[0]()
            except StateDirError as error:
                log.error("the store refuses; what has happened is written later", error=str(error))
                return
            except (IllegalTransition, JobNotFound) as error:
                log.error("a transition came too late", error=str(error))
            self._pending.popleft()
