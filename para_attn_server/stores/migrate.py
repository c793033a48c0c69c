"""Brings a state database to the schema that this version knows, or says why that cannot be.

`ensure_schema` looks with plain sqlite3 first: only when there is something to migrate is Alembic imported, which takes
as long as the rest of a start. A migration is one transaction: it happens as a whole or not at all.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

from para_attn_server.core.errors import StateDirError, StoreUnavailable
from para_attn_server.stores.sqlite import BUSY_TIMEOUT, create_sqlite_engine, damaged, refusal

HEAD = "0007"
"""The newest revision in `migrations/versions/`."""


def ensure_schema(path: Path) -> None:
    """Make the database at `path` ready for SqlStore; its folder must exist.

    Raises StateDirError when the file is locked, damaged, not writable, no database of ours, or from a newer version;
    it is left as it was then.
    """
    try:
        if not path.exists() or _revision(path) != HEAD:
            migrate(path)
    except StateDirError:
        raise
    except StoreUnavailable as error:
        raise StateDirError(str(error), error.public) from error
    except Exception as error:
        why = f"could not be migrated to this version's schema ({type(error).__name__}: {error})"
        raise StateDirError(f"{path} {why}") from error


def migrate(path: Path) -> None:
    """Run the missing migrations in this process; raises whatever is in the way."""
    # Else it says what it imports, and at each start what kind of database it is.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    engine = create_sqlite_engine(str(path), durable=True, create=True)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            _check_ours(connection, path, known)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()


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


def _check_ours(connection: Any, path: Path, known: set[str]) -> None:
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    if tables and "alembic_version" not in tables:
        raise StateDirError(f"{path} is not a database of para-attn-server; choose another --state-dir")
    if tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().first()
        if found is not None and found not in known:
            raise StateDirError(
                f"{path} was written by a newer version of para-attn-server (schema {found}, this version knows "
                f"{HEAD}); use that version, or choose another --state-dir"
            )
