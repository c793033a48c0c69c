"""What is written to stdout and stderr past the log, as records of the log: where logs are JSON, every line is.

Three ways lead there: Python's own streams (`print`, a traceback), handlers that libraries have put beside the root
logger's, and the two descriptors, to which C code and child processes write. The first two are led to the log in the
process where they are; the descriptors are a pipe that the controller reads (`DescriptorReader`) and its children
inherit.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from typing import Any

import structlog

from para_attn_server.core.signals import LOG_FD_VARIABLE

LONGEST = 64 * 1024
"""Characters of a line; the rest of a longer one follows as further lines."""
_EVENT = "output"
_END = b"\0the server ends"

log = structlog.get_logger()


class LineStream(io.TextIOBase):
    """In place of sys.stdout or sys.stderr: each line becomes a record, and a line that has no end at a flush too.

    name: `stdout` or `stderr`. original: the stream whose place it takes; what is written to its `buffer` in bytes goes
    to its descriptor.
    """

    encoding, errors = "utf-8", "backslashreplace"

    def __init__(self, name: str, original: Any) -> None:
        self._name, self.original = name, original
        self._lock = threading.RLock()
        self._open_line = ""
        self._writing = threading.local()

    @property
    def buffer(self) -> Any:
        """For bytes."""
        return self.original.buffer

    def fileno(self) -> int:
        """The descriptor."""
        number: int = self.original.fileno()
        return number

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Text; its whole lines become records."""
        with self._lock:
            *lines, self._open_line = (self._open_line + text).replace("\r", "\n").split("\n")
            for line in lines:
                self._record(line)
            while len(self._open_line) > LONGEST:
                self._record(self._open_line[:LONGEST])
                self._open_line = self._open_line[LONGEST:]
        return len(text)

    def flush(self) -> None:
        """Whatever has been written is a record now."""
        with self._lock:
            line, self._open_line = self._open_line, ""
            self._record(line)

    def _record(self, line: str) -> None:
        # What the log itself prints, where it cannot log, must not come back to it.
        if line.strip() and not getattr(self._writing, "on", False):
            self._writing.on = True
            try:
                for first in range(0, len(line), LONGEST):
                    log.info(_EVENT, text=line[first : first + LONGEST], stream=self._name)
            finally:
                self._writing.on = False


def lead_to_log() -> None:
    """Have Python's streams, warnings and uncaught exceptions of this process become records; again is harmless."""
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: log.critical("uncaught exception", exc_info=(kind, error, trace))
    threading.excepthook = lambda thrown: log.error(
        "uncaught exception in a thread",
        thread=thrown.thread.name if thrown.thread else None,
        exc_info=(thrown.exc_type, thrown.exc_value, thrown.exc_traceback),
    )
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, LineStream):
            setattr(sys, name, LineStream(name, stream))
    adopt_loggers()


def adopt_loggers() -> None:
    """Have what libraries print by handlers of their own (transformers, diffusers) go through the root logger."""
    for logger in list(logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)  # type: ignore[union-attr]  # a placeholder has no handlers
                logger.propagate = True  # type: ignore[union-attr]


def log_fds() -> list[int]:
    """The descriptor that takes the log where stderr is a pipe to the controller, for starting a process; else none."""
    fd = os.environ.get(LOG_FD_VARIABLE)
    return [] if fd is None else [int(fd)]


class DescriptorReader:
    """Puts a pipe in the place of descriptors 1 and 2 of this process and of the children it starts from now on.

    A thread makes records of what comes out of it; `log_fd` is where stderr was.
    """

    def __init__(self) -> None:
        self.log_fd = os.dup(2)
        os.environ[LOG_FD_VARIABLE] = str(self.log_fd)
        self._stdout_fd = os.dup(1)
        reading, self._writing = os.pipe()
        for fd in (1, 2):
            os.dup2(self._writing, fd)
        self._thread = threading.Thread(target=self._read, args=[reading], name="output", daemon=True)

    def start(self) -> None:
        """Begin to read, once the log is configured."""
        self._thread.start()

    def close(self) -> None:
        """Give the descriptors back and write what is still in the pipe."""
        for fd, original in ((1, self._stdout_fd), (2, self.log_fd)):
            os.dup2(original, fd)
        os.write(self._writing, _END + b"\n")  # there is no end of file while any process holds it open
        self._thread.join(timeout=5.0)

    def _read(self, fd: int) -> None:
        rest = b""
        while data := os.read(fd, LONGEST):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.endswith(_END):
                    return
                _record(line)
            if len(rest) > LONGEST:
                _record(rest)
                rest = b""


def _record(line: bytes) -> None:
    text = line.decode(errors="replace").strip("\r")
    if text.strip():
        with contextlib.suppress(Exception):  # the thread must live: who writes to the pipe waits for it
            log.info(_EVENT, text=text, process="unknown")
