"""The schema of a PostgreSQL database: which one it has, and its migration. The migrations are those of every store.

Whoever looks or migrates is the database's server meanwhile: two that start at once do it one after the other, and
nobody migrates below a server that runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from para_attn_server.core.errors import StateDirError
from para_attn_server.stores.migrate import HEAD, in_plain_words, must_be_migrated, run_migrations
from para_attn_server.stores.postgres import (
    LOCK_WITHIN,
    Address,
    StoreConnection,
    create_postgres_engine,
    prepare_session,
    process_name,
    refusal,
)
from para_attn_server.stores.postgres_server import WRITE_LOCK, become_server

SERVER_GONE_WITHIN = 8.0
"""Seconds in which a server that has just been killed, or that only looks at the schema, is the server no more."""
_FORGET_AFTER = "1 day"
"""After which a connection that writes no more is forgotten."""


def ensure_schema(url: str, allowed: bool = True) -> None:
    """Make a database ready for a store. allowed: to migrate it.

    Raises StateDirError when it cannot be reached, has another server, is not ours, is from a newer version, or must
    not be migrated; it is left as it was then.
    """
    address = Address(url)
    with in_plain_words(address.shown), _alone(address) as connection:
        found = _revision(connection)
        if found != HEAD:
            if not allowed:
                raise must_be_migrated(address.shown, found)
            _migrate(connection, address)
        connection.execute(f"DELETE FROM writers WHERE seen < now() - interval '{_FORGET_AFTER}'")


def revision_of(url: str) -> str | None:
    """The revision that a database has, None where it has none. Raises StateDirError."""
    address = Address(url)
    with in_plain_words(address.shown), _connected(address) as connection:
        return _revision(connection)


def _migrate(connection: StoreConnection, address: Address) -> None:
    connection.limit = None
    connection.execute(
        "SET statement_timeout = 0; SET lock_timeout = '60s'; SET idle_in_transaction_session_timeout = 0"
    )
    engine = create_postgres_engine(lambda: connection, address, 1)
    try:
        with engine.connect() as alembics:
            alembics.exec_driver_sql("BEGIN")
            alembics.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
            run_migrations(alembics, address.shown, "--store")
            connection.execute("COMMIT")
    finally:
        engine.dispose(close=False)


def _revision(connection: StoreConnection) -> str | None:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except pg.UndefinedTable:
        return None
    return row and str(row[0])


@contextmanager
def _alone(address: Address) -> Iterator[StoreConnection]:
    with _connected(address) as connection:
        ends = time.monotonic() + SERVER_GONE_WITHIN
        while True:
            try:
                become_server(connection, set())
                break
            except StateDirError:
                if time.monotonic() > ends:
                    raise
            time.sleep(0.1)
        yield connection


@contextmanager
def _connected(address: Address) -> Iterator[StoreConnection]:
    try:
        with address.connect(process_name("start")) as connection:
            prepare_session(connection, LOCK_WITHIN)
            yield connection
    except psycopg.Error as error:
        raise refusal(error, address) from None
