"""The lines that a predictor logs for its job: cut, counted, and sent without ever waiting for the controller.

One line may have 4 KiB. Of each second the first lines are sent at once and the last ones at its end; what is between
them is counted. What finds no room in the pipe is counted too. How many lines a job may have in all is the controller's
business (pool/job_logs.py), since that bound holds over all attempts.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from para_attn_server.core.printable import printable
from para_attn_server.core.wire.ranks import FromRank, Log

LONGEST = 4096
"""Bytes of a line in UTF-8."""
AT_ONCE, HELD = 25, 25
"""Lines of a second that are sent as they come, and those after them that are held until its end: the last ones."""
PERIOD = 1.0
_PER_MESSAGE = 4
"""Lines per message: what fits into the room that a pipe has left when it reports that it has some."""


class JobLog:
    """The log of one run at a time, for any of its threads.

    offer: sends a message if that can be done at once, and says whether it did. send: waits. clock: monotonic seconds.
    """

    def __init__(
        self,
        offer: Callable[[FromRank], bool],
        send: Callable[[FromRank], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._offer, self._send, self._clock = offer, send, clock
        self._lock = threading.RLock()  # a line may be logged while another is: by a destructor
        self._serial: int | None = None
        self._held: deque[str] = deque()
        self._since, self._count, self._left_out = 0.0, 0, 0
        self._timer: threading.Timer | None = None

    def begin(self, serial: int) -> None:
        """A run begins: its lines follow."""
        with self._lock:
            self._serial, self._since, self._count, self._left_out = serial, self._clock(), 0, 0
            self._held.clear()

    def add(self, text: object) -> None:
        """A line; does nothing where no run is under way."""
        line = as_line(text)
        with self._lock:
            if self._serial is None:
                return
            if self._clock() - self._since >= PERIOD:
                self._close_period()
            self._count += 1
            if self._count <= AT_ONCE:
                self._pass_on([line])
                return
            self._held.append(line)
            if len(self._held) > HELD:
                self._held.popleft()
                self._left_out += 1
            if self._timer is None:
                self._timer = threading.Timer(PERIOD, self._on_timer)
                self._timer.daemon = True
                self._timer.start()

    def end(self) -> None:
        """The run is over: send what is held, before the message that ends it, and so waiting for room."""
        with self._lock:
            if self._serial is not None and (self._held or self._left_out):
                self._send(Log(self._serial, list(self._held), self._left_out))
            self._serial, self._left_out = None, 0
            self._held.clear()
            self._stop_timer()

    def _on_timer(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread() and self._serial is not None:
                self._close_period()

    def _close_period(self) -> None:
        lines = list(self._held)
        self._held.clear()
        self._stop_timer()
        self._since, self._count = self._clock(), 0
        self._pass_on(lines)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass_on(self, lines: Sequence[str]) -> None:
        for first in range(0, len(lines), _PER_MESSAGE):
            some = list(lines[first : first + _PER_MESSAGE])
            assert self._serial is not None
            if self._offer(Log(self._serial, some, self._left_out)):
                self._left_out = 0
            else:
                self._left_out += len(some)


def as_line(text: object) -> str:
    """Text of at most LONGEST bytes that can be shown anywhere: no control characters, no lone surrogates.

    A text of several lines stays together.
    """
    try:
        said = text if isinstance(text, str) else str(text)
        said = str.__getitem__(said, slice(LONGEST + 1))  # a subclass may have anything of its own
    except BaseException as error:
        said = f"({type(text).__name__[:100]} has no text: {type(error).__name__[:100]})"
    data = printable(said).encode(errors="replace")
    if len(data) <= LONGEST:
        return data.decode()
    return data[: LONGEST - 3].decode(errors="ignore") + "..."
