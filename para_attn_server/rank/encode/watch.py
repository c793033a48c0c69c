"""The line to an encoder at work: it says that it goes on, and learns that it is to stop."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_BEAT = 1.0
"""Seconds between two signs of life."""


class Stopped(BaseException):
    """The encoding is left. A BaseException, so that no `except Exception` swallows it."""


class Watch:
    """Over one encoding. Called now and then by what encodes; raises Stopped once `stop` was called.

    folder: touched as a sign of life, where the files grow too seldom to be one (pool/writing.py).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder, self._beat_at = folder, time.monotonic()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def __call__(self) -> None:
        if self.stopped:
            raise Stopped
        now = time.monotonic()
        if self._folder is not None and now - self._beat_at >= _BEAT:
            self._beat_at = now
            with contextlib.suppress(OSError):
                os.utime(self._folder)

    def stop(self) -> None:
        """Have it stop, from another thread: its process is killed, and the next call raises."""
        with self._lock:
            self.stopped = True
            if self._process is not None:
                self._process.kill()

    @contextlib.contextmanager
    def over(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """What encodes is that process, meanwhile. It is ended then in any case."""
        with self._lock:
            self._process = process
        try:
            self()
            yield
        finally:
            process.kill()
            process.wait()
            with self._lock:
                self._process = None
