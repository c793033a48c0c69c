"""Two guards of Linux against orphans: a death signal from the parent, and process groups of one's own."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel SIGKILL this process when the thread that started it ends; exit now if `parent` is gone already.

    parent: the process id that os.getppid() must still return. See prctl(2), PR_SET_PDEATHSIG: the setting does not
    pass on to children, so each process of a chain sets its own.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)
