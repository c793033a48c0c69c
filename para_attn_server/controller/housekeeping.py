"""Cleans up what a killed server has left in the output folders."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from para_attn_server.core.output import LEFTOVER, part_folder, remove_leftover, temporary_path
from para_attn_server.core.uploads import FOLDER
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.publishing import Publisher
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()
LOOKED_THROUGH = 5.0
"""Seconds for which the output root is looked through at the start."""
ENDED_LAST = 1000
"""Jobs whose folders are looked through too: requests may have named a day's folder, or one outside the root."""
_OTHERS = re.compile(rf"[0-9]{{4}}|{re.escape(FOLDER)}")
"""Folders in the root that have finished files only: those of years, and that of uploads."""
UNKNOWN_KEPT = 86400.0
"""Seconds for which the folder of a job that this server does not know is left alone: it may be another server's."""


def finish_outputs(store: JobStore, outputs: OutputFolder) -> None:
    """Give outputs whose jobs have succeeded their names, and remove what other jobs have left half-written.

    For the start, before any job runs.
    """
    ends = time.monotonic() + LOOKED_THROUGH
    found = list(_below(outputs.root, ends))
    folders = {Path(path).parent for path in store.output_paths(ENDED_LAST)}
    found += [each for folder in folders for each in _in(folder) if LEFTOVER.fullmatch(each.name)]
    publisher = Publisher(outputs)
    removed = sum(_put_in_order(store, publisher, path) for path in dict.fromkeys(map(Path, found)))
    if removed:
        log.info("removed partial outputs of an earlier server", jobs=removed)


def _below(root: Path, ends: float) -> Iterator[os.DirEntry[str]]:
    """Where outputs are being written; not in the folders of days, which may be many, and have finished ones only."""
    waiting = deque([root])
    while waiting:
        folder = waiting.popleft()
        for entry in _in(folder):
            if LEFTOVER.fullmatch(entry.name):
                yield entry
            elif entry.is_dir(follow_symlinks=False) and not (folder == root and _OTHERS.fullmatch(entry.name)):
                waiting.append(Path(entry.path))
        if time.monotonic() > ends:
            log.warning("the output root is too large to search for partial outputs", root=str(root))
            return


def _in(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as found:
        yield from found


def _put_in_order(store: JobStore, publisher: Publisher, path: Path) -> bool:
    """Rename or remove one; whether it was removed."""
    job_id = LEFTOVER.fullmatch(path.name)[1]  # type: ignore[index]
    job = store.get(job_id)
    if job is None and _age(path) < UNKNOWN_KEPT:
        return False
    waiting = [output for output in (job.outputs if job else ()) if temporary_path(output.path, job_id).exists()]
    if waiting and part_folder(waiting[0].path, job_id) == path:
        publisher.publish(job_id, waiting)
        return False
    remove_leftover(path)
    return True


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0
