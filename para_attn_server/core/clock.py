"""Monotonic time that stands still while this process does: `docker pause`, SIGSTOP, a snapshot of the machine.

Deadlines measured by it move by as much as the process was late. Deadlines that a client has set are by the steady
clock (steady.py), which runs on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

TOLERATED = 0.25
"""Seconds that a reading may come late on a busy machine and still counts as on time."""
REPORTED = 1.0
"""Seconds of a pause that is worth a line in the log."""
LONG = 30.0
"""Seconds of a pause that may break what waits for another process, as a collective with its time-out."""


class RunningClock:
    """Seconds during which this process ran, for a loop that reads them at least every `every` seconds.

    source: monotonic seconds. long_pauses: how many there were so far. every: may be changed by the loop.
    """

    def __init__(self, every: float = math.inf, source: Callable[[], float] = time.monotonic) -> None:
        self.every, self._source = every, source
        self._lost, self.long_pauses = 0.0, 0
        self._read_at = source()

    def __call__(self) -> float:
        """Now. A reading that comes later than it should shows that nothing ran meanwhile, and is taken for on time."""
        now = self._source()
        late = now - self._read_at - self.every
        self._read_at = now
        if late > TOLERATED:
            self._lost += late
            self.long_pauses += late >= LONG
            if late >= REPORTED:
                log.warning("process was paused", seconds=round(late, 1))
        return now - self._lost
