"""Whether a database is still where it was opened, and its return there from a connection that has it open.

A file that was removed lives on for whoever has it open; what is written to it goes with its last reader. This module
knows files and SQLite's connection to them, no tables.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog
from sqlalchemy import Connection

from para_attn_server.core.errors import StateDirError
from para_attn_server.stores.sqlite import FILES, FileIds, copy_database, file_ids, keep_open

log = structlog.get_logger()
REPLACED = "the queue's database was replaced while the server ran; restart the server"


class DatabaseFiles:
    """The files of one open database, as they were when it was opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._opened: FileIds = ()
        self._saved = False

    def opened(self) -> None:
        """Note what is at the path now: it has just been opened."""
        self._opened = file_ids(self.path)

    @property
    def moved(self) -> bool:
        """Whether something else, or nothing, is at the path of one of them."""
        return file_ids(self.path) != self._opened

    @property
    def gone(self) -> bool:
        """Whether nothing is any more at the path of one of them."""
        return any(now is None and then for now, then in zip(file_ids(self.path), self._opened, strict=True))

    def put_back(self, connection: Connection) -> str | None:
        """Write files that are gone anew from the open connection, which is never used again after that.

        Returns why that cannot be: what another has put there stays, and this database is kept beside it.
        Raises StateDirError or OSError where the disk refuses.
        """
        path, found = Path(self.path), file_ids(self.path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(now not in (None, then) for now, then in zip(found, self._opened, strict=True)):
            self._save(connection, path)
            return REPLACED
        copy = path.with_name(f"{path.name}.copy")
        copy_database(connection, copy)
        for suffix in FILES[1:]:  # the old log would be taken for the new file's
            Path(self.path + suffix).unlink(missing_ok=True)
        os.replace(copy, path)  # noqa: PTH105
        keep_open(connection)
        log.error("the queue's database was gone and has been written anew", path=self.path)
        return None

    def _save(self, connection: Connection, path: Path) -> None:
        if self._saved:
            return
        self._saved = True
        kept = path.with_name(f"{path.name}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        try:
            copy_database(connection, kept)
            log.error("the queue's database was replaced; what it held is kept", path=self.path, kept=kept.name)
        except StateDirError as error:
            log.error("the queue's database was replaced, and cannot be kept", error=str(error))
