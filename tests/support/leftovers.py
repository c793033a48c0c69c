"""What a test session has started and not ended."""

from __future__ import annotations

import os

import psutil

MARK = "PARA_ATTN_TEST"
"""Environment variable that every process of the session carries, however indirectly it was started."""


def marked_processes() -> list[psutil.Process]:
    """Processes that this test session started and that still run; zombies count as dead."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get(MARK) == os.environ[MARK]
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
