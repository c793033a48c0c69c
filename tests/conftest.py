"""Fixtures for all tests: real servers, and the proof that a test leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from leftovers import MARK, marked_processes
from postgres import RunningPostgres, prepared, running_postgres
from serving import CHAOS, CHAOS_STEP_TIMEOUT, COUNTING, RunningServer, shared_server
from waiting import wait_until

from para_attn_server.stores.migrate import migrate
from para_attn_server.stores.sql import SqlStore

SHARED_MEMORY = Path("/dev/shm")
hypothesis.settings.load_profile("ci")  # the same examples in each run: a test fails for what was changed


@pytest.fixture(scope="session", autouse=True)
def _mark() -> None:
    """Every process that a test starts, however indirectly, carries this mark in its environment."""
    os.environ[MARK] = uuid.uuid4().hex


@pytest.fixture(autouse=True, scope="module")
def _nothing_left(_mark: None) -> Iterator[None]:
    """After each test module: no process, no named shared memory is left."""
    shared, blocked = set(SHARED_MEMORY.iterdir()), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    assert signal.pthread_sigmask(signal.SIG_SETMASK, blocked) == blocked, "a test has left signals blocked"
    wait_until(lambda: not marked_processes(), 15, f"processes left: {marked_processes()}")
    wait_until(lambda: set(SHARED_MEMORY.iterdir()) <= shared, 15, "shared memory to be given back")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """`serve(model, **settings)` starts a server of its own for the test; stopped at the end."""
    running: list[RunningServer] = []

    def start(model: str | list[str], **settings: Any) -> RunningServer:
        settings = {"state_dir": tmp_path / "state", "output_dir": tmp_path / "outputs", **settings}
        server = RunningServer(model, settings)
        running.append(server)
        return server

    yield start
    for server in running:
        server.close()


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server of the CountingPredictor on two ranks, shared by the tests of a module."""
    yield from shared_server(COUNTING, tmp_path_factory.mktemp("counting"))


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server of the ChaosPredictor on two ranks, shared by the tests of a module."""
    yield from shared_server(CHAOS, tmp_path_factory.mktemp("chaos"), step_timeout=f"{CHAOS_STEP_TIMEOUT}s")


@pytest.fixture
def counting_model() -> str:
    """The CountingPredictor as --model takes it."""
    return COUNTING


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the present schema and nothing in it."""
    path = tmp_path_factory.mktemp("empty") / "state.db"
    migrate(path)
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> Path:
    """A test's own copy of it."""
    return Path(shutil.copy(empty_database, tmp_path / "state.db"))


@pytest.fixture
def store(database: Path) -> Iterator[SqlStore]:
    """A store in it, as the controller opens it."""
    with closing(SqlStore.open(database, durable=False)) as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres() -> Iterator[RunningPostgres]:
    """One PostgreSQL for all tests."""
    yield from running_postgres()


@pytest.fixture(scope="session")
def empty_postgres(postgres: RunningPostgres) -> str:
    """A database in it with the present schema and nothing in it, which nobody has open: a template."""
    return prepared(postgres)


@pytest.fixture
def postgres_database(postgres: RunningPostgres, empty_postgres: str) -> Iterator[str]:
    """A test's own copy of it."""
    name = postgres.new_database(empty_postgres)
    yield name
    postgres.drop(name)
