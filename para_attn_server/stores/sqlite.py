"""What is particular to SQLite: how its connection is opened, its transactions begun, its errors put into words.

Nothing outside this file knows which database is behind the store's engine.
"""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, ExceptionContext, StaticPool, create_engine, event
from sqlalchemy.engine import URL

from para_attn_server.core import disk
from para_attn_server.core.errors import StoreUnavailable

BUSY_TIMEOUT = 5.0
"""Seconds that a web worker's statement waits for another process's write to end."""
CONTROLLERS_SHARE = 0.2
"""Of that time for the controller: what waits behind its write is refused soon; what must be kept is tried again."""

CACHE_KIB = 256
"""KiB of the database that a process keeps in its own memory; the operating system has the rest at hand."""

_CALLERS_FAULT = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.InterfaceError)


FILES = ("", "-wal", "-shm")
"""What is appended to the path of a database for the files that make it up while it is open."""
REPLACED = ".replaced-"
"""What is appended to it, with the time, for the copy of a database in whose place another file was put."""
LEAST_FREE = 256 * 2**10
"""Bytes without which no job is accepted: the ends of those that were must find room."""

FileIds = tuple[tuple[int, int] | None, ...]
"""Device and inode of each of FILES, None of one that is not there."""


def create_sqlite_engine(path: str, *, durable: bool, create: bool = False) -> Engine:
    """An engine that holds at most one connection, opened at its first use.

    One connection is what the controller needs, whose store has one thread, and all that a gevent worker can use:
    SQLite's calls never switch greenlets. durable: a commit waits until it is on disk (web workers), or need not (the
    controller).
    create: make the file where there is none; else that is an error, for a new file would hold none of the jobs.
    """
    timeout = BUSY_TIMEOUT * (1 if durable else CONTROLLERS_SHARE)
    name = f"file:{quote(os.fsencode(path))}?mode={'rwc' if create else 'rw'}"
    engine = create_engine(
        URL.create("sqlite", database=path),
        poolclass=StaticPool,
        pool_reset_on_return=None,
        json_serializer=_compact_json,
        creator=lambda: sqlite3.connect(name, timeout, check_same_thread=False, uri=True),
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    event.listen(engine, "connect", lambda connection, _: _prepare(connection, durable))
    event.listen(engine, "handle_error", _handle)
    return engine


def _prepare(connection: sqlite3.Connection, durable: bool) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()  # by now its log is open too


def begin_write(connection: Connection) -> None:
    """Take the write lock at once: a transaction that takes it after its first read may have to give up."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def file_ids(path: str) -> FileIds:
    """Which files are at the path of a database now."""
    return tuple(_id(path + suffix) for suffix in FILES)


def _id(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - at each use of the store
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def has_room(path: str) -> bool:
    """False when the disk of a database is as good as full. Raises OSError when it cannot be asked."""
    return disk.has_room(os.path.dirname(path) or ".", LEAST_FREE)  # noqa: PTH120


def keep_open(connection: Connection) -> None:
    """Never close a connection whose files have lost their names: SQLite would remove those that have them now."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection.connection.dbapi_connection))


def copy_database(connection: Connection, target: Path) -> None:
    """Write all that a connection sees into a new file. Raises StoreUnavailable."""
    target.unlink(missing_ok=True)
    source: Any = connection.connection.dbapi_connection
    try:
        copy = sqlite3.connect(target)
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = WAL")
        finally:
            copy.close()
    except sqlite3.Error as error:
        raise refusal(error, str(target)) from error


def data_version(connection: Connection) -> int:
    """A number that changes when another connection has written."""
    version: int = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
    return version


def refusal(error: sqlite3.Error, path: str) -> StoreUnavailable:
    """What is wrong with the database and what to do: with its path for an operator, without for clients."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path)
    if code == sqlite3.SQLITE_FULL:
        return full(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        why = "is locked by another process; stop what holds it open, then start again"
    elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        why = f"cannot be opened for writing ({error}); check the owner and permissions of it and its folder"
    else:
        why = f"cannot be used: {error}"
    return _of_file(path, why)


def full(path: str) -> StoreUnavailable:
    """The disk of a database has no room."""
    why = "the disk of the state directory is full: free some space"
    return StoreUnavailable(f"{why} ({path})", why)


def damaged(path: str) -> StoreUnavailable:
    """What to do about a file that is not what it should be."""
    name = Path(path).name
    why = "is damaged or no SQLite database; restore a backup, move it away, or choose another --state-dir"
    if kept := kept_copies(path):
        why = (
            f"is damaged or no SQLite database; what a server had there before is kept beside it as {kept[-1]}: to "
            f"have that back, move {name}, {name}-wal and {name}-shm away and rename the kept file to {name}"
        )
    return _of_file(path, why)


def kept_copies(path: str) -> list[str]:
    """The names of the databases that servers have kept when another file was put in their place, the oldest first."""
    return sorted(found.name for found in Path(path).parent.glob(f"{Path(path).name}{REPLACED}*"))


def _of_file(path: str, why: str) -> StoreUnavailable:
    return StoreUnavailable(f"{path} {why}", f"{Path(path).name} {why}")


def _compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _handle(context: ExceptionContext) -> StoreUnavailable | None:
    return in_plain_words(context.original_exception, context.engine.url.database if context.engine else None)


def in_plain_words(error: BaseException, path: str | None) -> StoreUnavailable | None:
    """What to raise in the place of SQLite's own error: None where the caller is to blame."""
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, _CALLERS_FAULT):
        return None
    return refusal(error, path or "the database")
