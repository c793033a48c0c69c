"""A PostgreSQL store's URL goes to libpq as it is, and its password nowhere else; the schema is made under a lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner
from postgres import LOCKED_OUT, PASSWORD, RunningPostgres
from sqlalchemy import create_engine

from para_attn_server.cli.checks.check import State
from para_attn_server.cli.checks.store import store_checks
from para_attn_server.cli.main import command_line
from para_attn_server.core import install
from para_attn_server.core.errors import StateDirError, StoreUnavailable, UsageError
from para_attn_server.core.job import NewJob
from para_attn_server.core.settings import Settings, load_settings
from para_attn_server.stores import postgres_schema as module
from para_attn_server.stores.migrate import HEAD
from para_attn_server.stores.open import open_store, prepare_store, store_revision
from para_attn_server.stores.tables import metadata


@pytest.fixture
def url(postgres: RunningPostgres, postgres_database: str) -> str:
    return postgres.url(postgres_database)


@pytest.fixture
def locked(postgres: RunningPostgres, shared_url: str) -> Iterator[str]:
    """The database's address for a user with a password, without user and scheme."""
    name = shared_url.rpartition("/")[2]
    with postgres.connect(name) as admin:
        admin.execute(f"DROP ROLE IF EXISTS {LOCKED_OUT}")
        admin.execute(f"CREATE ROLE {LOCKED_OUT} LOGIN PASSWORD '{PASSWORD}'")
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {LOCKED_OUT}")
        admin.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {LOCKED_OUT}")
    yield f"127.0.0.1:{postgres.port}/{name}"
    with postgres.connect(name) as admin:
        admin.execute(f"DROP OWNED BY {LOCKED_OUT}; DROP ROLE {LOCKED_OUT}")


def works(url: str) -> bool:
    with closing(open_store(url, durable=True)) as store:
        job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
        return store.get(job.id) == job


# --- the URL ---


@pytest.mark.parametrize(
    "form",
    [
        "postgres://postgres@127.0.0.1:{port}/{name}",
        "postgresql:///{name}?host={folder}&port={port}&user=postgres",
        "postgresql://postgres@127.0.0.1:1,127.0.0.1:{port}/{name}",
        "postgresql://postgres@database.invalid:{port}/{name}?hostaddr=127.0.0.1&sslmode=disable",
        "postgresql://postgres@127.0.0.1:{port}/{name}?application_name=mine&connect_timeout=2&options=-cjit%3Doff",
    ],
)
def test_libpq_takes_the_url_as_it_is(postgres: RunningPostgres, shared_url: str, form: str) -> None:
    name = shared_url.rpartition("/")[2]
    assert works(form.format(port=postgres.port, name=name, folder=postgres.folder))


def test_a_service_file_says_where_it_is(
    postgres: RunningPostgres, shared_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = shared_url.rpartition("/")[2]
    services = tmp_path / "services"
    services.write_text(f"[queue]\nhost=127.0.0.1\nport={postgres.port}\nuser=postgres\ndbname={name}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert works("postgresql://?service=queue")


def test_what_the_url_asks_for_is_not_left_out(shared_url: str) -> None:
    with (
        closing(open_store(f"{shared_url}?sslmode=require", durable=True)) as store,
        pytest.raises(StoreUnavailable) as caught,
    ):
        store.counts()
    assert "SSL" in str(caught.value)


def test_a_password_is_taken_from_the_url_or_a_file(
    locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert works(f"postgresql://{LOCKED_OUT}:{PASSWORD.replace('@', '%40')}@{locked}")
    passwords = tmp_path / "passwords"
    passwords.write_text(f"*:*:*:{LOCKED_OUT}:{PASSWORD}\n")
    passwords.chmod(0o600)
    assert works(f"postgresql://{LOCKED_OUT}@{locked}?passfile={passwords}")
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert works(f"postgresql://{LOCKED_OUT}@{locked}")


def test_a_wrong_password_is_said_and_not_shown(locked: str) -> None:
    with closing(open_store(f"postgresql://{LOCKED_OUT}:hunter2%40@{locked}", durable=True)) as store:
        with pytest.raises(StoreUnavailable, match=rf"127.0.0.1.*{LOCKED_OUT}") as caught:
            store.counts()
        assert caught.value.public == "the queue's database cannot be reached"
    assert "hunter2" not in str(caught.value) + repr(caught.value.__cause__) + repr(store.handle.__dict__)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:sec@ret@nowhere/name",
        "postgresql://user:12/sec@nowhere/name",
        "postgresql://user:secret@nowhere:port@/name",
        "postgresql://user:secret@nowhere/name?unknown=1",
        "postgresql://user:secret%zz@nowhere/name",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_a_part_of_it(url: str) -> None:
    with pytest.raises(UsageError, match="special characters") as caught:
        open_store(url, durable=True)
    assert "sec" not in str(caught.value) and "nowhere" not in str(caught.value)
    assert caught.value.__cause__ is None is caught.value.__context__


def test_the_environments_database_url_is_taken_where_it_is_meant_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://nowhere/name")
    assert load_settings().job_store == "postgres://nowhere/name"
    assert load_settings(store="sqlite:///a.db").job_store == "sqlite:///a.db"
    assert "nowhere" not in repr(Settings())
    monkeypatch.setenv("DATABASE_URL", "mysql://host/name")
    assert load_settings().store is None


def test_without_psycopg_it_is_said_what_to_install() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'psycopg' else find(name, *rest)\n"
        "from para_attn_server.stores.open import open_store\n"
        "open_store('postgresql://host/name', durable=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    command = install.extra("postgres")
    assert command.startswith('pip install "para-attn-server[postgres]') and command in done.stderr


def test_psycopg_is_not_loaded_before_a_store_is_opened() -> None:
    program = (
        "import sys; from para_attn_server.stores.open import find_kind; find_kind('postgresql://host/name');"
        "print('sqlalchemy' in sys.modules, 'psycopg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True False"


# --- the schema ---


def test_the_migrations_give_the_tables_that_the_store_uses(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        options = {"compare_type": True, "include_name": lambda name, kind, _: kind != "table" or name != "writers"}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


def test_several_that_start_at_once_migrate_once(postgres: RunningPostgres) -> None:
    name = postgres.new_database()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(prepare_store, [postgres.url(name)] * 4))
    assert store_revision(postgres.url(name)) == HEAD and works(postgres.url(name))
    postgres.drop(name)


def test_without_leave_to_migrate_nothing_is_changed(postgres: RunningPostgres) -> None:
    name = postgres.new_database()
    with pytest.raises(StateDirError, match=r"has no tables yet.*para-attn-server db upgrade"):
        prepare_store(postgres.url(name), migrate=False)
    with closing(open_store(postgres.url(name), durable=True)) as store, pytest.raises(StoreUnavailable) as caught:
        store.counts()
    assert caught.value.public == "the queue's database lacks a table or a column: run para-attn-server db upgrade"
    prepare_store(postgres.url(name))
    prepare_store(postgres.url(name), migrate=False)
    postgres.drop(name)


def test_a_newer_schema_is_refused_and_somebody_elses_database_too(
    postgres: RunningPostgres, postgres_database: str, url: str
) -> None:
    with postgres.connect(postgres_database) as admin:
        admin.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StateDirError, match=r"newer version of para-attn-server \(schema 9999.*--store"):
            prepare_store(url)
        admin.execute("DROP TABLE job_counts CASCADE")
        with pytest.raises(StateDirError, match="is not a database of para-attn-server"):
            prepare_store(url)  # another program's, which uses Alembic as well
        admin.execute("DROP TABLE alembic_version")
    with pytest.raises(StateDirError, match="is not a database of para-attn-server"):
        prepare_store(url)


def test_a_migration_waits_for_no_server_that_runs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERVER_GONE_WITHIN", 0.3)
    with closing(open_store(url, durable=False)) as store:
        store.counts()
        with pytest.raises(StateDirError, match="in use by another server"):
            prepare_store(url)
    prepare_store(url)


def test_a_database_of_another_encoding_is_refused(postgres: RunningPostgres) -> None:
    name = "latin"
    with postgres.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StateDirError, match="encoding is LATIN1, and must be UTF8"):
        prepare_store(postgres.url(name))
    postgres.drop(name)


def test_the_command_checks_and_migrates(postgres: RunningPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    name = postgres.new_database()
    monkeypatch.setenv("DATABASE_URL", postgres.url(name))
    check, upgrade = (CliRunner().invoke(command_line, ["db", action]) for action in ("check", "upgrade"))
    assert check.exit_code == 1 and check.output.startswith("none: this version needs") and "db upgrade" in check.output
    assert (upgrade.exit_code, upgrade.output) == (0, f"migrated from none to {HEAD}\n")
    assert store_revision(postgres.url(name)) == HEAD
    postgres.drop(name)


@pytest.mark.slow
def test_doctor_looks_at_the_store(postgres: RunningPostgres, url: str) -> None:
    assert store_checks(Settings()) == []
    (found,) = store_checks(Settings(store=url))
    assert (found.state, found.found) == (State.OK, f"schema {HEAD}")
    with postgres.connect(url.rsplit("/", 1)[1]) as admin:
        admin.execute("DROP TABLE alembic_version")
    (found,) = store_checks(Settings(store=url, migrate=False))
    assert found.state is State.PROBLEM and "db upgrade" in found.advice
