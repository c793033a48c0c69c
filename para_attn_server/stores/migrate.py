"""Brings a database to the schema that this version knows, or says why that cannot be. PostgreSQL's way to it is in
`postgres_schema.py`.

`ensure_schema` looks with plain sqlite3 first: only when there is something to migrate is Alembic imported, which takes
as long as the rest of a start. A migration is one transaction: it happens as a whole or not at all.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect

from para_attn_server.core.errors import StateDirError, StoreUnavailable
from para_attn_server.stores.sqlite import BUSY_TIMEOUT, create_sqlite_engine, damaged, refusal

HEAD = "0008"
"""The newest revision in `migrations/versions/`."""


def ensure_schema(path: Path, allowed: bool = True) -> None:
    """Make the database at `path` ready for SqlStore; its folder must exist. allowed: to migrate it.

    Raises StateDirError when the file is locked, damaged, not writable, no database of ours, from a newer version, or
    must not be migrated; it is left as it was then.
    """
    with in_plain_words(path):
        found = revision_of(path)
        if found != HEAD:
            if not allowed:
                raise must_be_migrated(path, found)
            migrate(path)


@contextmanager
def in_plain_words(place: object) -> Iterator[None]:
    """Whatever is raised within is a StateDirError."""
    try:
        yield
    except StateDirError:
        raise
    except StoreUnavailable as error:
        raise StateDirError(str(error), error.public) from error
    except Exception as error:
        why = f"could not be migrated to this version's schema ({type(error).__name__}: {error})"
        raise StateDirError(f"{place} {why}") from error


def must_be_migrated(place: object, found: str | None) -> StateDirError:
    """It has another schema, and --no-migrate."""
    has = f"has schema {found}" if found else "has no tables yet"
    return StateDirError(
        f"{place} {has}, and this version needs schema {HEAD}: run para-attn-server db upgrade, or start without "
        "--no-migrate"
    )


def revision_of(path: Path) -> str | None:
    """The revision of a SQLite database, None where it has none or is not there. Raises StoreUnavailable."""
    return _revision(path) if path.exists() else None


def migrate(path: Path) -> None:
    """Run the missing migrations of a SQLite database in this process; raises whatever is in the way."""
    engine = create_sqlite_engine(str(path), durable=True, create=True)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            run_migrations(connection, str(path), "--state-dir")
            connection.commit()
    finally:
        engine.dispose()


def run_migrations(connection: Connection, place: str, option: str) -> None:
    """Run those that are missing, in the connection's transaction. option: the one that names another place."""
    # Else it says what it imports, and at each start what kind of database it is.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    _check_ours(connection, place, option, known)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(path: Path) -> str | None:
    """The database's revision, None if it has none; also proves that it is whole and can be written."""
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise damaged(str(path))
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return row and str(row[0])
    except sqlite3.Error as error:
        raise refusal(error, str(path)) from error
    finally:
        if connection is not None:
            connection.close()


def _check_ours(connection: Connection, place: str, option: str, known: set[str]) -> None:
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return
    found = None
    if "alembic_version" in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().first()
    newer = found is not None and found not in known
    if "alembic_version" not in tables or (newer and "job_counts" not in tables):  # Alembic is used by others, too
        raise StateDirError(f"{place} is not a database of para-attn-server; choose another {option}")
    if newer:
        raise StateDirError(
            f"{place} was written by a newer version of para-attn-server (schema {found}, this version knows {HEAD}); "
            f"use that version, or choose another {option}"
        )
