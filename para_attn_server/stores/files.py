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

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.stores.sqlite import FILES, REPLACED, FileIds, copy_database, file_ids, keep_open

log = structlog.get_logger()


class DatabaseFiles:
    """The files of one open database, as they were when it was opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._opened: FileIds = ()
        self._kept: Path | None = None
        self._kept_state: object = None
        self._said = ""

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

    def put_back(self, connection: Connection, state: object = None) -> str | None:
        """Write files that are gone anew from the open connection, which is never used again after that.

        Returns why that cannot be: what another has put there stays, and this database is kept beside it. state: when
        it is another than at the last call, the kept copy is made anew.
        Raises StoreUnavailable or OSError where the disk refuses.
        """
        path, found = Path(self.path), file_ids(self.path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(now not in (None, then) for now, then in zip(found, self._opened, strict=True)):
            self._keep(connection, path, state)
            return self._replaced(path)
        copy = path.with_name(f"{path.name}.copy")
        copy_database(connection, copy)
        for suffix in FILES[1:]:  # the old log would be taken for the new file's
            Path(self.path + suffix).unlink(missing_ok=True)
        os.replace(copy, path)  # noqa: PTH105
        keep_open(connection)
        log.error("the queue's database was gone and has been written anew", path=self.path)
        return None

    def keep_last(self, connection: Connection) -> None:
        """Bring the copy that is kept up to date, if there is one: nobody will write to the database any more."""
        if self._kept is not None:
            self._keep(connection, Path(self.path), object())

    def _replaced(self, path: Path) -> str:
        name, was = path.name, "was replaced while the server ran"
        if self._kept is None:
            return f"{name} {was}, and what the server had cannot be kept: {self._said}"
        return (
            f"{name} {was}; what the server had is kept beside it as {self._kept.name}: stop the server, move {name}, "
            f"{name}-wal and {name}-shm away, and rename the kept file to {name}"
        )

    def _keep(self, connection: Connection, path: Path, state: object) -> None:
        if self._kept is not None and state == self._kept_state:
            return
        kept = self._kept or path.with_name(f"{path.name}{REPLACED}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        copy = path.with_name(f"{path.name}.copy")
        try:
            copy_database(connection, copy)
            os.replace(copy, kept)  # noqa: PTH105
        except (OSError, StoreUnavailable) as error:
            self._say("the queue's database was replaced, and cannot be kept", error)
            return
        if self._kept is None:
            log.error("the queue's database was replaced; what it held is kept", path=self.path, kept=kept.name)
        self._kept, self._kept_state, self._said = kept, state, ""

    def _say(self, event: str, error: Exception) -> None:
        reason = error.public if isinstance(error, StoreUnavailable) and error.public else str(error)
        if reason != self._said:
            log.error(event, error=str(error))
        self._said = reason
