"""Which server a PostgreSQL database has: one at a time, as long as the session lives that has said so.

The right is an advisory lock of the session with which the controller also reads and writes. So whoever can write has
the right, and a server that is killed has lost it when its connection ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from para_attn_server.core.errors import StateDirError
from para_attn_server.stores.postgres import StoreConnection

_OURS = 0x70617261 << 16
"""Sets our advisory locks apart from those of other programs in the same database."""
SERVER_LOCK, WRITE_LOCK = _OURS + 1, _OURS + 2
_ENDS_WITHIN_MS = 2000
_SESSION = "SELECT pid, backend_start::text, application_name FROM pg_stat_activity"


@dataclass(frozen=True, slots=True)
class Session:
    """One session of the database. name: what its process calls itself."""

    pid: int
    began: str
    name: str


def become_server(connection: StoreConnection, former: set[Session]) -> None:
    """Raises StateDirError where another session is the server of this database.

    former: this process's own sessions so far, to which this one is added. One of them that the database has not yet
    seen the end of, since its connection broke, is ended.
    """
    had = _try_lock(connection)
    if not had and (other := holder(connection)) in former:
        connection.execute("SELECT pg_terminate_backend(%s, %s)", (other.pid, _ENDS_WITHIN_MS))
        had = _try_lock(connection)
    if not had:
        other = holder(connection)
        name = other.name if other else "unknown"
        raise StateDirError(
            f"the database {connection.info.dbname} is in use by another server ({name}); stop that one, or choose "
            "another database for --store",
            "another server uses the queue's database: stop it",
        )
    former.add(_found(connection, f"{_SESSION} WHERE pid = pg_backend_pid()"))


def holder(connection: StoreConnection) -> Session | None:
    """The server of this database, None where there is none."""
    return _found(
        connection,
        f"{_SESSION} JOIN pg_locks USING (pid) WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND (classid::bigint << 32) + objid::bigint = %s",
        SERVER_LOCK,
    )


def _try_lock(connection: StoreConnection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (SERVER_LOCK,)).fetchone()
    return bool(row and row[0])


def _found(connection: StoreConnection, statement: str, *values: Any) -> Any:
    row = connection.execute(statement, values).fetchone()
    return None if row is None else Session(*row)
