"""Standard streams that are closed, full, not read, or of an encoding that has not every character.

None of it ends a process or holds it up.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from para_attn_server.core.outlet import WAIT, Outlet

_STANDARD = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def open_closed() -> None:
    """Have /dev/null in the place of standard streams that are closed, before anything else is opened.

    A socket or a database would get their numbers otherwise, and with them what is printed.
    """
    for number, name, mode in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def write_any_text() -> None:
    """Have characters that the encoding of stdout lacks, and bytes of file names that are no text, written escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr always has it


def lose_what_cannot_be_written(names: tuple[str, ...] = ("stdout", "stderr"), timeout: float = WAIT) -> None:
    """Have what these streams refuse thrown away: a full disk must end neither this process nor a job in it.

    Nor may a reader that does not read hold it up. timeout: seconds to wait for one (core/outlet.py).
    """
    for number, name, _ in _STANDARD:
        if name not in names:
            continue
        stream = getattr(sys, name)
        if stream is None or (stream is getattr(sys, f"__{name}__") and not isinstance(stream, LossyStream)):
            setattr(sys, name, LossyStream(number, getattr(stream, "encoding", "utf-8"), timeout))


class LossyStream(io.TextIOWrapper):
    """A stream to that descriptor, which loses what it does not take. outlet: where it writes."""

    def __init__(self, number: int, encoding: str = "utf-8", timeout: float = WAIT) -> None:
        self.outlet = Outlet(number, timeout)
        raw: Any = io.BufferedWriter(_Raw(number, self.outlet))
        super().__init__(raw, encoding=encoding, errors="backslashreplace", line_buffering=True)


class _Raw(io.FileIO):
    def __init__(self, number: int, outlet: Outlet) -> None:
        super().__init__(number, "w", closefd=False)
        self._outlet = outlet

    def write(self, data: Any) -> int:
        """What was not taken counts as written: nothing stays behind that would be tried again at the end."""
        lines = bytes(data)
        self._outlet.write(lines)
        return len(lines)
