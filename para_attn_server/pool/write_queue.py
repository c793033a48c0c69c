"""What has happened to a job is written, in order, though the store may hang or refuse for a while.

Each write is made in the store's thread. One that the store refuses is kept and tried again before any other. Nothing
here survives the process: a job whose end was not written is still `running` in the store, and a restart runs it again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from para_attn_server.core.errors import IllegalTransition, JobNotFound, StoreUnavailable
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()

LEFT_ALONE = 2.0
"""Seconds for which a store that has refused is left alone: finding out that it still does takes a while each time."""
STUCK = 3.0
"""Seconds after which a store that has not returned counts as one that refuses: SQLite's own wait is shorter."""

Effect = Callable[[], object]
"""What follows from a write, on the loop."""
Work = Callable[[JobStore], Effect | None]
"""Reads and writes, in the store's thread. It may be done again where the store refuses: nothing outside changes."""
Prepare = Callable[[], Work | None]
"""Called on the loop when a write's turn has come. None: there is nothing to write any more."""


def _nothing(error: Exception) -> None:
    """Where a write that is not made has no consequence."""


@dataclass(frozen=True, slots=True)
class Write:
    """undone: called on the loop each time that it was not made. kept: whether it is tried again then."""

    prepare: Prepare
    undone: Callable[[Exception], None] = _nothing
    kept: bool = True


class Runner(Protocol):
    """Where work is done (store_thread.py)."""

    def do(self, work: Work, done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        """Have it done, and one of the two called on the loop."""


class WriteQueue:
    """Writes to the store in the order in which they were asked for, one at a time. clock: monotonic seconds.

    refusal: why the store has refused last, None once it has taken everything again.
    """

    def __init__(self, runner: Runner, clock: Callable[[], float] = time.monotonic) -> None:
        self._runner, self._clock = runner, clock
        self._queue: deque[Write] = deque()
        self._writing: Write | None = None
        self._since = self._alone_until = 0.0
        self.refusal: StoreUnavailable | None = None

    @property
    def pending(self) -> bool:
        """True while something that is kept waits to be written."""
        return any(write.kept for write in self._queue)

    @property
    def under_way(self) -> bool:
        """True while the store is at work on a write."""
        return self._writing is not None

    @property
    def trouble(self) -> StoreUnavailable | None:
        """Why nothing is written at the moment, None if all is well."""
        if self._writing is not None and self._clock() - self._since >= STUCK:
            return StoreUnavailable("the job store does not respond", "the queue's database does not respond")
        return self.refusal

    def write(self, prepare: Prepare, undone: Callable[[Exception], None] = _nothing, at_once: bool = False) -> None:
        """Write this as soon as the store allows. at_once: try though the store may just have refused."""
        self._queue.append(Write(prepare, undone))
        self.flush(at_once)

    def attempt(self, prepare: Prepare, undone: Callable[[Exception], None] = _nothing, at_once: bool = False) -> None:
        """The same for what is not kept: it comes to nothing where the store refuses it, or what is before it."""
        self._queue.append(Write(prepare, undone, kept=False))
        self.flush(at_once)

    def flush(self, at_once: bool = False) -> None:
        """Go on with what waits. at_once: though the store may just have refused."""
        while self._queue and self._writing is None and (at_once or self._clock() >= self._alone_until):
            write = self._queue[0]
            if (work := self._prepared(write)) is None:
                self._queue.popleft()
                continue
            self._writing, self._since = write, self._clock()
            self._runner.do(work, self._written, self._failed)

    def tick(self) -> None:
        """What would come to nothing where the store refuses does so where it is stuck, too."""
        trouble = self.trouble
        if self._writing is not None and trouble is not None and trouble is not self.refusal:
            self._drop_attempts(trouble)

    def _prepared(self, write: Write) -> Work | None:
        try:
            return write.prepare()
        except Exception as error:
            log.exception("failed to prepare a write")
            self._call(partial(write.undone, error))
            return None

    def _written(self, effect: Effect | None) -> None:
        self._queue.popleft()
        self._writing, self._alone_until = None, 0.0
        if self.refusal is not None and not self.pending:
            self.refusal = None
            log.info("job store is available again")
        if effect is not None:
            self._call(effect)
        self.flush()

    def _failed(self, error: Exception) -> None:
        write, self._writing = self._queue[0], None
        if not (write.kept and isinstance(error, StoreUnavailable)):
            self._queue.popleft()
        if isinstance(error, StoreUnavailable):
            self._refused(error)
            self._call(partial(write.undone, error))
            self._drop_attempts(error)
            return
        self._say(write, error)
        self._call(partial(write.undone, error))
        self.flush()

    def _say(self, write: Write, error: Exception) -> None:
        if not isinstance(error, IllegalTransition | JobNotFound):  # a fault of this program
            log.error("failed to record job transition", exc_info=error)
        elif write.kept:
            log.error("ignoring illegal job transition", error=str(error))
        else:
            log.warning("a write has come too late", error=str(error))

    def _refused(self, error: StoreUnavailable) -> None:
        """Leave the store alone for a while. Each reason is logged once."""
        self._alone_until = self._clock() + LEFT_ALONE
        if self.refusal is None or str(error) != str(self.refusal):
            log.error("job store unavailable; queued writes will be retried", error=str(error))
        self.refusal = error

    def _drop_attempts(self, error: StoreUnavailable) -> None:
        waiting = [write for write in self._queue if write is not self._writing]
        self._queue = deque(write for write in self._queue if write.kept or write is self._writing)
        for write in waiting:
            if not write.kept:
                self._call(partial(write.undone, error))

    def _call(self, effect: Effect) -> None:
        try:
            effect()
        except Exception:
            log.exception("what follows from a write has failed")
