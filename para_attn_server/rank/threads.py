"""Which threads belong to a run: the one that entered it, and those that it, or one of them, has started meanwhile.

A thread that a predictor leaves behind belongs to the run that it was started in, and to no later one; nor do the
threads that it starts then. A process that a predictor forks belongs to none.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

_MARK = "_para_attn_run"


class RunThreads:
    """The threads of one run at a time. `begin` and `end` are called by one and the same thread."""

    def __init__(self) -> None:
        self._run: object | None = None
        self._pid = os.getpid()
        self._original: Any = None
        self._replacement: Any = None

    def begin(self) -> None:
        """The calling thread enters a run."""
        self._run, self._pid = object(), os.getpid()
        setattr(threading.current_thread(), _MARK, self._run)
        self._original, self._replacement = threading.Thread.start, self._marking(threading.Thread.start)
        threading.Thread.start = self._replacement  # type: ignore[method-assign]

    def end(self) -> None:
        """No thread belongs to a run any more."""
        self._run = None
        if self._replacement is not None and threading.Thread.start is self._replacement:
            threading.Thread.start = self._original  # type: ignore[method-assign]

    def belongs(self) -> bool:
        """Whether the calling thread is one of the run's."""
        run = self._run
        return run is not None and getattr(threading.current_thread(), _MARK, None) is run and os.getpid() == self._pid

    def _marking(self, original: Any) -> Any:
        @functools.wraps(original)
        def start(thread: threading.Thread) -> None:
            if self.belongs():
                setattr(thread, _MARK, self._run)
            original(thread)

        return start
