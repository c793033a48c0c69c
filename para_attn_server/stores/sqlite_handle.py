"""One process's handle on a SQLite database: its connection, its transactions, and what happens when the file moves.

What is read and written is `sql.py`'s; SQLite's own ways are in `sqlite.py`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.stores import statements as sql
from para_attn_server.stores.files import DatabaseFiles
from para_attn_server.stores.sqlite import (
    begin_write,
    create_sqlite_engine,
    data_version,
    full,
    has_room,
    keep_open,
)

_inherited: list[Connection] = []
"""Connections of the process that forked this one. They are kept and never used: closing would be a use."""


class SqliteHandle:
    """A connection that is opened at its first use, and again where it must be. Threads or greenlets take turns."""

    def __init__(self, path: str, *, durable: bool) -> None:
        self.engine = create_sqlite_engine(path, durable=durable)
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._path = path
        self._files = DatabaseFiles(self._path)
        self._owner = not durable
        self._in_transaction = False

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._pid == os.getpid() and self._files.moved:
                if self._owner:
                    self._files.keep_last(self._connection)
                keep_open(self._connection)
            elif self._connection is not None and self._pid == os.getpid():
                self._connection.close()
                self.engine.dispose()
            self._connection = None

    def usable(self) -> None:
        try:
            room = has_room(self._path)
        except OSError as error:
            why = f"cannot be used ({error.strerror})"
            raise StoreUnavailable(f"{self._path} {why}", f"the queue's database {why}") from None
        if not room:
            raise full(self._path)
        with self.reading():
            pass

    def heal(self) -> str | None:
        with self._lock:
            if self._connection is None or not self._files.moved:
                return None
            try:
                refusal = self._files.put_back(self._connection, self._state())
            except OSError as error:
                why = f"is gone and cannot be written anew ({error.strerror})"
                raise StoreUnavailable(f"{self._path} {why}", f"{Path(self._path).name} {why}") from None
            if refusal is None:
                self._connection = None
                self.engine.dispose(close=False)
                self._connected()
            return refusal

    def _state(self) -> Any:
        """What is in the database, roughly: a copy of it is made anew when that has changed."""
        with self.reading() as connection:
            return connection.execute(sql.COUNT_BY_STATUS).all()

    def changes(self) -> int:
        with self.reading() as connection:
            return data_version(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._lock:
            yield self._connected()

    @contextmanager
    def writing(self, relaxed: bool = False) -> Iterator[Connection]:
        with self._lock:
            connection = self._connected()
            if self._in_transaction:
                yield connection
                return
            try:
                begin_write(connection)
                self._in_transaction = True
                yield connection
                connection.commit()
                if not self._owner and self._files.moved:  # written where nobody will look for it
                    raise _lost(self._path, "was removed or replaced while it was in use")
            except BaseException:
                connection.rollback()
                raise
            finally:
                self._in_transaction = False

    def _connected(self) -> Connection:
        if self._pid != os.getpid():
            if self._connection is not None:
                _inherited.append(self._connection)
                self._connection = None
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        if self._connection is not None and not self._owner and self._files.moved:
            if self._files.gone:  # their owner puts them back
                raise _lost(self._path, "was removed while it was in use")
            keep_open(self._connection)
            self._connection = None
            self.engine.dispose(close=False)
        if self._connection is None:
            self._connection = self.engine.connect()
            self._files.opened()
        return self._connection


def _lost(path: str, how: str) -> StoreUnavailable:
    return StoreUnavailable(f"{path} {how}", f"the queue's database {how}; try again in a moment")
