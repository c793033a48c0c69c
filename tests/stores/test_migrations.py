"""The state database's schema: made once, checked quickly, never overwritten."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import NewJob
from para_attn_server.stores import migrate as module
from para_attn_server.stores.migrate import HEAD, ensure_schema, migrate
from para_attn_server.stores.sql import SqlStore
from para_attn_server.stores.sqlite import create_sqlite_engine
from para_attn_server.stores.tables import metadata


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as the first start makes it, in a folder with an awkward name."""
    folder = tmp_path_factory.mktemp("a %(folder)s ü#?")
    ensure_schema(folder / "state.db")
    return folder / "state.db"


@pytest.fixture
def database(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "state.db"))


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_head_is_the_newest_revision_that_ships() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).with_name("migrations")))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_new_database_is_ready_for_the_store(made: Path, database: Path) -> None:
    store = SqlStore.open(database, durable=True)
    store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    store.close()
    assert [path.name for path in made.parent.iterdir()] == ["state.db"]


def test_the_package_may_lie_in_a_folder_with_an_awkward_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "100%(s) ü").mkdir()
    (tmp_path / "100%(s) ü" / "migrations").symlink_to(Path(module.__file__).with_name("migrations"))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "100%(s) ü" / "migrate.py"))
    migrate(tmp_path / "state.db")


def test_the_migrations_give_the_tables_that_the_store_uses(database: Path) -> None:
    engine = create_sqlite_engine(str(database), durable=False)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    (sql,) = execute(database, "SELECT sql FROM sqlite_master WHERE name = 'jobs'")
    assert "AUTOINCREMENT" in str(sql)


def test_a_database_of_this_version_is_only_looked_at(database: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from para_attn_server.stores.migrate import ensure_schema\n"
        f"ensure_schema(Path({str(database)!r}))\n"
        "print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_migration_says_nothing_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ensure_schema(tmp_path / "state.db")
    assert caplog.messages == []


def test_migrating_again_keeps_the_jobs(database: Path) -> None:
    store = SqlStore.open(database, durable=True)
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    store.close()
    migrate(database)
    store = SqlStore.open(database, durable=True)
    assert store.get(job.id) == job
    store.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    execute(path, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    execute(path, "CREATE TABLE documents (a)")  # the last table that 0001 makes
    before = execute(path, "SELECT sql FROM sqlite_master")
    with pytest.raises(StoreUnavailable, match=r"state\.db"):
        ensure_schema(path)
    assert execute(path, "SELECT sql FROM sqlite_master") == before


def test_a_newer_database_is_refused_and_left_alone(database: Path) -> None:
    execute(database, "UPDATE alembic_version SET version_num = '9999'")
    before = database.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"newer version of para-attn-server \(schema 9999.*--state-dir"):
        ensure_schema(database)
    assert database.read_bytes() == before


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    execute(path, "CREATE TABLE photos (name)")
    with pytest.raises(StoreUnavailable, match="is not a database of para-attn-server"):
        ensure_schema(path)
    assert execute(path, "SELECT name FROM sqlite_master") == [("photos",)]


@pytest.mark.parametrize("content", [b"no database at all" * 500, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="is damaged or no SQLite database"):
        ensure_schema(path)
    assert path.read_bytes() == content


def test_damage_in_the_middle_of_a_database_is_found_at_the_start_and_left_alone(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        for number in range(200):
            connection.execute("INSERT INTO documents VALUES (?, ?)", (f"key {number}", json.dumps("x" * 500)))
    connection.close()
    content = bytearray(database.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8192] = b"\xa5" * 8192
    database.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="is damaged or no SQLite database"):
        ensure_schema(database)
    assert database.read_bytes() == content


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    ensure_schema(path)
    ensure_schema(path)


def test_a_locked_database_is_said(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0.05)
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="is locked by another process"):
        ensure_schema(database)
    holder.close()


def test_a_place_where_no_file_can_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="check the owner and permissions"):
        ensure_schema(tmp_path)
    with pytest.raises(StoreUnavailable, match="check the owner and permissions"):
        ensure_schema(tmp_path / "nowhere" / "state.db")
