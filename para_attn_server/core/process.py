"""How a Python process of ours is started, where, and the guard against orphans: a death signal from the parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


WITH_DOCSTRINGS = {"PYTHONOPTIMIZE": "1"}
"""Variables for a Python that keeps docstrings."""


def docstrings_are_lost() -> bool:
    """Whether this Python runs with -OO. Without docstrings transformers does not import, and help pages are empty."""
    return sys.flags.optimize > 1


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this project.

    `-P` keeps the working folder off the search path: a file queue.py that lies there by chance must not take the place
    of the standard library's. The flag, and not PYTHONSAFEPATH, which a predictor's own helpers would inherit;
    multiprocessing hands the flag on to the forkserver. `-X utf8`: whatever the locale, files and streams are UTF-8.
    """
    return [sys.executable, "-P", "-X", "utf8", "-m", module, *arguments]


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


def leave_removed_folder() -> bool:
    """Where the working folder has been removed, go to the root folder; whether it was.

    multiprocessing asks for the working folder at each start of a process, and the new one goes there.
    """
    try:
        os.getcwd()  # noqa: PTH109 - the call that multiprocessing makes
    except FileNotFoundError:
        os.chdir("/")
        return True
    return False


def raise_descriptor_limit(wanted: int) -> None:
    """Allow this process that many open files, as far as the hard limit goes; never fewer than now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
