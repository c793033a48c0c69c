"""The kind of store that ships: `sqlite:///PATH`. How it is made ready, and what is reported of it after a fault.

The store itself is in `sql.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from para_attn_server.core.errors import UsageError
from para_attn_server.stores.base import StoreKind
from para_attn_server.stores.migrate import ensure_schema, revision_of
from para_attn_server.stores.sql import SqlStore
from para_attn_server.stores.sqlite import kept_copies
from para_attn_server.stores.wal import damaged_logs, keep_damaged

log = structlog.get_logger()


def _open(place: str, *, durable: bool, steady: Callable[[], float] | None) -> SqlStore:
    return SqlStore.open(_path(place), durable=durable, steady=steady)


def _prepare(place: str, migrate: bool) -> None:
    database = _path(place)
    found = keep_damaged(database)  # before anybody opens it: SQLite throws a damaged log away without a word
    if found is not None and found.kept is not None:
        lost = {"transactions": found.transactions, "frames": found.frames}
        log.error("the queue's write-ahead log is damaged; what it held is lost", **lost, kept=found.kept.name)
    ensure_schema(database, migrate)


def _notices(place: str) -> list[str]:
    database = _path(place)
    lost = "part of the queue was lost to a damaged write-ahead log, which was kept as"
    replaced = "the queue's database was replaced while a server ran; what that server had is kept as"
    return [f"{lost} {name}" for name in damaged_logs(database)] + [
        f"{replaced} {name}" for name in kept_copies(str(database))
    ]


def _path(place: str) -> Path:
    if len(place) < 2 or place[0] != "/":
        raise UsageError(f"sqlite://{place} names no file: the URL of a SQLite store is sqlite:///path")
    return Path(place[1:])


KIND = StoreKind(_open, _prepare, _notices, lambda place: revision_of(_path(place)))
