"""Removes jobs and outputs that are older than --keep."""

from __future__ import annotations

import structlog

from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()
AT_ONCE = 50
"""Jobs per pass: the daemon's loop must not stand still for all of a week's at once."""


def remove_old_jobs(store: JobStore, outputs: OutputFolder, before: float) -> bool:
    """Remove jobs that ended before that moment (Unix seconds), each with its output file; whether more are left."""
    old = store.ended_before(before, AT_ONCE)
    for output in filter(None, old.values()):
        _remove(outputs, output.path, before)
    if old:
        store.delete(list(old))
        log.info("old jobs removed", jobs=len(old))
    return len(old) == AT_ONCE


def _remove(outputs: OutputFolder, path: str, before: float) -> None:
    try:
        outputs.remove(path, modified_before=before)  # not the newer output of another job at the same path
    except OSError as error:
        log.warning("an old output cannot be removed", path=path, error=str(error))
