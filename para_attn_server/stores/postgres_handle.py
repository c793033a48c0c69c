"""One process's handle on a PostgreSQL database: its connections, its transactions, what it does when they are lost.

Writes are made one at a time, as SQLite makes them, under an advisory lock that is held until they are on disk: so the
places of the queue become visible in their order, its limit is exact, and no two writers wait for each other in a
circle. What is read and written is `sql.py`'s.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from para_attn_server.core.errors import StateDirError, StoreUnavailable
from para_attn_server.stores import postgres
from para_attn_server.stores.postgres import Address, StoreConnection, create_postgres_engine, prepare_session, refusal
from para_attn_server.stores.postgres_server import WRITE_LOCK, Session, become_server

CONNECTIONS = 4
"""Connections of a web worker: a greenlet that waits for the database holds no other one up. The controller has one."""
ASK_AGAIN = 0.25
"""Seconds between two attempts to learn whether a transaction is on record."""


@dataclass(slots=True)
class _Open:
    """A connection in use. writer: by what it is known in the table of writers. writes: its transactions so far."""

    connection: Connection
    driver: StoreConnection
    depth: int = 0

    @property
    def writer(self) -> str:
        return str(self.connection.info.setdefault("writer", uuid.uuid4().hex))

    @property
    def writes(self) -> int:
        return int(self.connection.info.get("writes", 0))


class PostgresHandle:
    """Connections that are opened when they are needed, and again when they are lost.

    durable: for web workers. The controller's handle has one connection, which is also its right to be the only server
    of this database: where another has it, nothing is read or written.
    """

    def __init__(self, address: Address, *, durable: bool) -> None:
        self.address, self._durable = address, durable
        self._id = uuid.uuid4().hex
        self.engine = create_postgres_engine(self._connect, address, CONNECTIONS if durable else 1)
        self._pid = os.getpid()
        self._current: ContextVar[_Open | None] = ContextVar("transaction", default=None)
        self._refusal: StoreUnavailable | None = None
        self._probing = threading.Lock()
        self._sessions: set[Session] = set()

    # --- what a store needs of it ---

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        if (current := self._current.get()) is not None:
            yield current.connection
            return
        with self._connected() as opened:
            yield opened.connection

    @contextmanager
    def writing(self, relaxed: bool = False) -> Iterator[Connection]:
        if (current := self._current.get()) is not None:
            with self._within(current):
                yield current.connection
            return
        with self._connected() as opened:
            writer, number = opened.writer, opened.writes + 1
            with self._undone_if_it_fails(opened):
                self._begin(opened, writer, number, relaxed)
                token = self._current.set(opened)
                try:
                    yield opened.connection
                finally:
                    self._current.reset(token)
            known = self._commit(opened, number)
        if not known:
            self._settle(writer, number)

    def changes(self) -> int:
        with self.reading() as connection:
            others = "SELECT coalesce(sum(writes), 0)::bigint FROM writers WHERE handle <> %s"
            return int(connection.exec_driver_sql(others, (self._id,)).scalar_one())

    def usable(self) -> None:
        with self.reading() as connection:
            if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
                connection.invalidate()
                raise StoreUnavailable(f"{self.address.shown} is a standby", "the queue's database is read-only")

    def heal(self) -> str | None:
        return None

    def close(self) -> None:
        self.engine.dispose(close=self._pid == os.getpid())

    # --- connections ---

    @contextmanager
    def _connected(self) -> Iterator[_Open]:
        if self._pid != os.getpid():
            self.engine.dispose(close=False)
            self._pid, self._id = os.getpid(), uuid.uuid4().hex
        try:
            connection = self.engine.connect()
            driver: StoreConnection = connection.connection.driver_connection  # type: ignore[assignment]
        except (PoolTimeout, InvalidRequestError):
            busy = StoreUnavailable(f"{self.address.shown}: no connection is free", "the queue's database is busy")
            raise self._refused(busy) from None
        try:
            yield _Open(connection, driver)
        finally:
            if driver.closed and not connection.invalidated:
                connection.invalidate()
            connection.close()

    def _refused(self, otherwise: StoreUnavailable) -> StoreUnavailable:
        known = self._refusal or otherwise
        return type(known)(str(known), known.public)

    def _connect(self) -> StoreConnection:
        """Called by the pool. While the database cannot be reached one caller tries and the others need not wait."""
        if not self._probing.acquire(blocking=False):
            if self._refusal is not None:
                raise self._refused(self._refusal)
            return self._new_connection()
        try:
            return self._new_connection()
        finally:
            self._probing.release()

    def _new_connection(self) -> StoreConnection:
        connection = None
        try:
            connection = self.address.connect(postgres.process_name("web" if self._durable else "controller"))
            share = 1.0 if self._durable else postgres.CONTROLLERS_SHARE
            prepare_session(connection, postgres.LOCK_WITHIN * share)
            if not self._durable:
                become_server(connection, self._sessions)
            self._refusal = None
            return connection
        except (psycopg.Error, StoreUnavailable) as error:
            if connection is not None:
                connection.close()
            self._refusal = error if isinstance(error, StoreUnavailable) else refusal(error, self.address)
            raise self._refusal from None

    # --- transactions ---

    def _begin(self, opened: _Open, writer: str, number: int, relaxed: bool) -> None:
        """In one round trip. It is on record of each connection how many transactions it has made."""
        self._send(
            opened,
            "BEGIN; "
            f"{'SET LOCAL synchronous_commit = off; ' if relaxed else ''}"
            f"SELECT pg_advisory_xact_lock({WRITE_LOCK}); "
            f"INSERT INTO writers (id, handle, writes) VALUES ('{writer}', '{self._id}', {number}) "
            "ON CONFLICT (id) DO UPDATE SET writes = excluded.writes, seen = now()",
        )

    def _commit(self, opened: _Open, number: int) -> bool:
        """True when it is on record; False where that is not known, since the connection was lost."""
        try:
            said = self._send(opened, "COMMIT")
        except StoreUnavailable:
            if opened.driver.closed:
                return False
            raise
        if said != "COMMIT":
            raise StoreUnavailable(f"{self.address.shown} has taken a transaction back")
        opened.connection.info["writes"] = number
        return True

    def _settle(self, writer: str, number: int) -> None:
        """Return when that transaction is on record; raises StoreUnavailable when it is not.

        The controller waits until it knows, however long: else it would try a write again that is on record. A web
        worker gives up after a while, as its client does, and the request fails though its job may be there.
        """
        ends = time.monotonic() + postgres.REPLY_WITHIN
        while True:
            try:
                found = self._found(writer)
                break
            except StateDirError:  # another server has taken over
                raise
            except StoreUnavailable as error:
                if self._durable and time.monotonic() > ends:
                    unsure = "; whether the last write is on record is not known"
                    raise StoreUnavailable(f"{error}{unsure}", f"{error.public}{unsure}") from None
            time.sleep(ASK_AGAIN)
        if found != number:
            lost = "was lost in the middle of a write"
            raise StoreUnavailable(
                f"{self.address.shown} {lost}", f"the queue's database {lost}; try again in a moment"
            )

    def _found(self, writer: str) -> int:
        """How many transactions of a connection are on record, once none of it is under way any more."""
        with self._connected() as opened, self._undone_if_it_fails(opened):
            self._send(opened, f"BEGIN; SELECT pg_advisory_xact_lock({WRITE_LOCK})")
            found = opened.connection.exec_driver_sql("SELECT writes FROM writers WHERE id = %s", (writer,)).scalar()
            self._send(opened, "COMMIT")
        return int(found or 0)

    @contextmanager
    def _within(self, opened: _Open) -> Iterator[None]:
        """A write within a transaction: where it fails, what was written before stays in force."""
        name = f"write_{opened.depth}"
        self._send(opened, f"SAVEPOINT {name}")
        opened.depth += 1
        try:
            yield
        except BaseException:
            if not opened.driver.closed:
                self._send(opened, f"ROLLBACK TO SAVEPOINT {name}")
            raise
        finally:
            opened.depth -= 1

    @contextmanager
    def _undone_if_it_fails(self, opened: _Open) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with suppress(StoreUnavailable):
                if opened.driver.info.transaction_status is TransactionStatus.ACTIVE:
                    opened.driver.close()  # in the middle of a statement
                elif not opened.driver.closed:
                    self._send(opened, "ROLLBACK")
            raise

    def _send(self, opened: _Open, statements: str) -> str:
        """Have them done in one round trip; what the last one says."""
        try:
            cursor = opened.driver.execute(statements, prepare=False)
            while cursor.nextset():
                pass
            return cursor.statusmessage or ""
        except psycopg.Error as error:
            raise refusal(error, self.address) from None
