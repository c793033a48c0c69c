"""SIGINT and SIGTERM from a process's first line on: no traceback, whatever is being imported or made at that moment.

Python's own handler raises KeyboardInterrupt wherever the program is, and asyncio's handlers are there only while its
loop runs. This module imports next to nothing, so that its handlers are there early.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED = 130
LOG_FD_VARIABLE = "PARA_ATTN_LOG_FD"
"""Environment variable that names the descriptor of the JSON log, where stderr is a pipe to the controller."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """The handlers of one process. Until `follow` is called, a signal ends the process.

    A signal that was ignored when the process was started stays ignored (nohup, and `&` in a script).
    """

    def __init__(self) -> None:
        self._then: Callable[[], Any] | None = None
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def follow(self, then: Callable[[], Any]) -> None:
        """From now on, and until the process ends, call `then` for each signal, in the midst of whatever runs."""
        self._then = then

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._then is not None:
            self._then()
        elif number == signal.SIGINT:
            leave_interrupted()
        else:  # as without a handler: whoever waits for this process sees which signal it was
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # the kernel spares process 1 of a container


@contextmanager
def held() -> Iterator[None]:
    """Hold the signals back in this block, and beyond an `exec` in it until the next StopSignals of this process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def raise_interrupts() -> None:
    """Have SIGINT raise KeyboardInterrupt again, for a command that has something to undo."""
    if isinstance(getattr(signal.getsignal(signal.SIGINT), "__self__", None), StopSignals):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave_interrupted() -> None:
    """End this process at once, as after Ctrl-C."""
    log = os.environ.get(LOG_FD_VARIABLE)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = f'{{"event": "interrupted", "level": "warning", "process": "controller", "timestamp": "{at}"}}\n'
    try:
        os.write(int(log or 2), record.encode() if log else b"para-attn-server: interrupted\n")
    finally:
        os._exit(INTERRUPTED)
