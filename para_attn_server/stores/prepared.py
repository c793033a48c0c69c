"""Executes the statements of every job. For SQLite each is compiled once and handed to the driver: what SQLAlchemy does
at each execution costs more than what SQLite does.

The connection, its transactions, the SQL and its types stay SQLAlchemy's. Not for lists of values (`IN`), which are
compiled anew for each length.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Insert

from para_attn_server.stores.sqlite import in_plain_words

_prepared: dict[int, _Prepared] = {}


def rows(connection: Connection, statement: Any, values: dict[str, Any]) -> Sequence[Any]:
    """The rows that a statement gives, by the names of their columns."""
    if connection.dialect.name != "sqlite":
        return connection.execute(statement, values).all()
    prepared = _of(connection, statement, values)
    return prepared.rows(_run(connection, prepared, values))


def insert(connection: Connection, statement: Insert, values: dict[str, Any]) -> int:
    """Insert a row; its number, where the database gives it one."""
    if connection.dialect.name != "sqlite":
        (number, *_) = connection.execute(statement, values).inserted_primary_key or (0,)
        return number if isinstance(number, int) else 0
    return _run(connection, _of(connection, statement, values), values).lastrowid or 0


class _Prepared:
    """One statement of SQLite. It keeps the statement: `_prepared` knows it by its identity."""

    def __init__(self, statement: Any, dialect: Dialect, columns: list[str] | None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        self.statement, self.sql = statement, str(compiled)
        self._values = [
            (name, compiled.params[name], compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup
        ]
        found = [] if columns is not None else list(statement.exported_columns)
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in found]
        self._readers = [(index, reader) for index, reader in enumerate(readers) if reader is not None]
        names: Any = namedtuple("Row", [column.key for column in found])  # type: ignore[misc]
        self._row = names._make

    def bound(self, values: dict[str, Any]) -> list[Any]:
        """The values in the order of the SQL's question marks."""
        given = [(values.get(name, default), write) for name, default, write in self._values]
        return [value if write is None else write(value) for value, write in given]

    def rows(self, found: sqlite3.Cursor) -> list[Any]:
        """What was found."""
        read = [list(row) for row in found]
        for row in read:
            for index, reader in self._readers:
                row[index] = reader(row[index])
        return [self._row(row) for row in read]


def _of(connection: Connection, statement: Any, values: dict[str, Any]) -> _Prepared:
    prepared = _prepared.get(id(statement))
    if prepared is None:
        columns = list(values) if isinstance(statement, Insert) else None
        prepared = _prepared[id(statement)] = _Prepared(statement, connection.dialect, columns)
    return prepared


def _run(connection: Connection, prepared: _Prepared, values: dict[str, Any]) -> sqlite3.Cursor:
    driver: Any = connection.connection.dbapi_connection
    try:
        cursor: sqlite3.Cursor = driver.execute(prepared.sql, prepared.bound(values))
    except sqlite3.DatabaseError as error:
        raise in_plain_words(error, connection.engine.url.database) or error from error
    return cursor
