"""What is particular to PostgreSQL: how it is connected to, what its sessions are like, its errors in plain words.

Nothing here knows of jobs or transactions. Imported only where a PostgreSQL store is opened, in a process that has been
patched for greenlets by then: psycopg chooses at its import how it waits.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import set_json_dumps
from sqlalchemy import Engine, ExceptionContext, QueuePool, create_engine, event
from sqlalchemy.exc import DisconnectionError

from para_attn_server.core.errors import StoreUnavailable, UsageError

REPLY_WITHIN = 5.0
"""Seconds in which a statement must be done; a database that has stopped keeps its connections open."""
CONNECT_WITHIN = 3
"""Seconds in which a connection must be made, where the URL has no connect_timeout."""
LOCK_WITHIN = 4.0
"""Seconds that a web worker's write waits for another one to end."""
CONTROLLERS_SHARE = 0.5
"""Of that time for the controller: what waits behind its write is refused soon; what must be kept is tried again."""
ABANDONED_AFTER = 10
"""Seconds after which the database ends a transaction whose process has stopped in the middle of it."""
IDLE, PROBE_EVERY, PROBES = 10, 5, 3
"""After how many seconds, and how often, each end of a connection looks whether the other one is there."""
OLDEST = 140000
"""The oldest version whose settings are used here: 14."""

_DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT_WITHIN,
    "keepalives_idle": IDLE,
    "keepalives_interval": PROBE_EVERY,
    "keepalives_count": PROBES,
    "tcp_user_timeout": 1000 * PROBE_EVERY * PROBES,
    "target_session_attrs": "read-write",
}
"""Where the URL and libpq's own environment say nothing else."""
_VARIABLES = {"connect_timeout": "PGCONNECT_TIMEOUT", "target_session_attrs": "PGTARGETSESSIONATTRS"}
_CALLERS_FAULT = (pg.DataError, pg.IntegrityError, pg.NotSupportedError)


class NoReply(psycopg.OperationalError):
    """The database has not responded in time. The connection is closed: the reply would be taken for the next one's."""


class StoreConnection(psycopg.Connection[Any]):
    """A connection whose every statement has a deadline. limit: in seconds, None for none."""

    limit: float | None = REPLY_WITHIN

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Called by psycopg for whatever goes over the network."""
        try:
            return super().wait(gen if self.limit is None else _within(gen, self.limit), *args, **options)
        except NoReply:
            self.pgconn.finish()
            raise


def _within(gen: Generator[Any, Any, Any], limit: float) -> Generator[Any, Any, Any]:
    """The same conversation with the server, ended when it takes longer. psycopg says at intervals that none came."""
    ends = time.monotonic() + limit
    try:
        wanted = next(gen)
        while True:
            came = yield wanted
            if not came and time.monotonic() > ends:
                raise NoReply(f"no response within {limit:g} s")
            wanted = gen.send(came)
    except StopIteration as done:
        return done.value


class Address:
    """Where a store is: a URL, which libpq takes as it is. Raises UsageError where that cannot be read."""

    def __init__(self, url: str) -> None:
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:  # whose message may have the password in it
            given = None
        if given is None or _is_ambiguous(url):
            raise UsageError(
                "store: the URL cannot be read; it must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, "
                "with special characters of its parts as %XX (@ is %40, / is %2F)"
            )
        given = {name: value for name, value in given.items() if value is not None}
        self._conninfo = make_conninfo(url, **_defaults(given))
        self._named = "application_name" in given
        self._secrets = [str(given[name]) for name in ("password", "sslpassword") if len(str(given.get(name, ""))) > 2]
        self.shown = _shown(given)

    def connect(self, name: str, limit: float | None = REPLY_WITHIN) -> StoreConnection:
        """A new connection, outside any transaction. name: what the database's views call it."""
        named: dict[str, Any] = {} if self._named else {"application_name": f"para-attn-server {name}"}
        connection = StoreConnection.connect(self._conninfo, autocommit=True, **named)
        connection.limit = limit
        set_json_dumps(_strict_json, connection)
        return connection

    def clean(self, text: str) -> str:
        """A text of libpq without the password, in one line."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _defaults(given: dict[str, Any]) -> dict[str, Any]:
    if "service" in given or "PGSERVICE" in os.environ:
        return {}  # its file may say all of them
    unsaid = {name for name in _DEFAULTS if name not in given and _VARIABLES.get(name, "") not in os.environ}
    return {name: _DEFAULTS[name] for name in unsaid}


def _is_ambiguous(url: str) -> bool:
    """Whether what was meant for the password may have been taken for a host or a database, and would be shown."""
    before, _, after = url.partition("?")[0].partition("://")[2].partition("/")
    return before.count("@") > 1 or "@" in after


def _shown(given: dict[str, Any]) -> str:
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST", "")
    port = f":{given['port']}" if given.get("port") else ""
    return f"the database {given.get('dbname') or ''} at {host or 'the local socket'}{port}".replace("  ", " ")


def process_name(role: str) -> str:
    """What a process of ours calls itself in the database's views: who has it open, and where."""
    return f"{role} {socket.gethostname()[:24]}:{os.getpid()}"


def prepare_session(connection: StoreConnection, lock_within: float) -> None:
    """Set what a session of a store needs. Raises StoreUnavailable where the database is not fit for one."""
    if connection.info.server_version < OLDEST:
        raise StoreUnavailable(
            f"PostgreSQL {connection.info.server_version // 10000} is too old: version 14 or newer is needed"
        )
    if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
        raise StoreUnavailable(
            f"the database's encoding is {encoding}, and must be UTF8: make it with "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    connection.execute(
        f"SET lock_timeout = {int(lock_within * 1000)}; "
        f"SET statement_timeout = {int(REPLY_WITHIN * 1000)}; "
        f"SET idle_in_transaction_session_timeout = '{ABANDONED_AFTER}s'; "
        f"SET tcp_keepalives_idle = {IDLE}; SET tcp_keepalives_interval = {PROBE_EVERY}; "
        f"SET tcp_keepalives_count = {PROBES}; "
        "SET client_encoding = 'UTF8'; "
        "SET default_transaction_isolation = 'read committed'; "
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        prepare=False,
    )


def create_postgres_engine(connect: Callable[[], StoreConnection], address: Address, size: int) -> Engine:
    """An engine of at most so many connections, each outside any transaction until one is begun."""
    engine = create_engine(
        "postgresql+psycopg://",
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=REPLY_WITHIN,
        pool_use_lifo=True,
        use_native_hstore=False,
        creator=connect,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    event.listen(engine, "checkout", _check_alive)
    event.listen(engine, "handle_error", lambda context: _in_plain_words(context, address))
    return engine


def _check_alive(connection: Any, _record: Any, _proxy: Any) -> None:
    """Before each use, without a round trip: what the server has closed can be read to its end."""
    arrived = select.poll()
    arrived.register(connection.fileno(), select.POLLIN)
    try:
        while arrived.poll(0):  # the server's last words come before its end
            connection.pgconn.consume_input()
    except psycopg.Error:
        connection.close()
    if connection.closed:
        raise DisconnectionError  # the pool makes another one


def _strict_json(value: Any) -> str:
    """Raises ValueError for NaN and infinities before anything is sent: the database would refuse the transaction."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _in_plain_words(context: ExceptionContext, address: Address) -> StoreUnavailable | None:
    error = context.original_exception
    if not isinstance(error, psycopg.Error) or isinstance(error, _CALLERS_FAULT):
        return None
    if isinstance(error, pg.ReadOnlySqlTransaction):
        context.is_disconnect = True  # the server is no primary any more: there is another one
    return refusal(error, address)


_REASONS: tuple[tuple[tuple[type[psycopg.Error], ...], str], ...] = (
    ((NoReply, pg.ConnectionTimeout), "does not respond"),
    ((pg.DiskFull,), "has no room on its disk: free some space"),
    ((pg.LockNotAvailable, pg.QueryCanceled, pg.DeadlockDetected), "is busy with another write"),
    ((pg.ReadOnlySqlTransaction,), "is read-only"),
    ((pg.InsufficientPrivilege,), "does not allow this to the user: GRANT what is missing"),
    ((pg.UndefinedTable, pg.UndefinedColumn), "lacks a table or a column: run para-attn-server db upgrade"),
)


def refusal(error: psycopg.Error, address: Address) -> StoreUnavailable:
    """What is wrong with the database: with its place for an operator, without for clients."""
    reason = next((words for kinds, words in _REASONS if isinstance(error, kinds)), None)
    if reason is None:
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        reason = "cannot be reached" if lost else "cannot be used"
    return StoreUnavailable(f"{address.shown} {reason} ({address.clean(str(error))})", f"the queue's database {reason}")
