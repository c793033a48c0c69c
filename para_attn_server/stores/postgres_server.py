"""Which server a PostgreSQL database has: one at a time, as long as the session lives that has said so.

The right is an advisory lock of the session with which the controller also reads and writes. So whoever can write has
the right, and a server that is killed has lost it when its connection ends.
"""

from __future__ import annotations

from typing import Any

from para_attn_server.core.errors import StateDirError
from para_attn_server.stores.postgres import StoreConnection

_OURS = 0x70617261 << 16
"""Sets our advisory locks apart from those of other programs in the same database."""
SERVER_LOCK, WRITE_LOCK = _OURS + 1, _OURS + 2


def become_server(connection: StoreConnection) -> None:
    """Raises StateDirError where another session is the server of this database."""
    (had,) = _one(connection, "SELECT pg_try_advisory_lock(%s)", SERVER_LOCK)
    if not had:
        raise StateDirError(
            f"the database {connection.info.dbname} is in use by another server ({holder(connection) or 'unknown'}); "
            "stop that one, or choose another database for --store",
            "another server uses the queue's database: stop it",
        )


def holder(connection: StoreConnection) -> str | None:
    """The server of this database, by what it calls itself; None where there is none."""
    found = _one(
        connection,
        "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE locktype = 'advisory' AND objsubid = 1 AND database = (SELECT oid FROM pg_database "
        "WHERE datname = current_database()) AND granted "
        "AND (classid::bigint << 32) + objid::bigint = %s",
        SERVER_LOCK,
    )
    return None if found is None else str(found[0])


def _one(connection: StoreConnection, statement: str, *values: Any) -> Any:
    return connection.execute(statement, values).fetchone()
