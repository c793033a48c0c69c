"""The stores that the contract suite runs against. A new store is one more entry in BACKENDS."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from para_attn_server.stores import sqlite
from para_attn_server.stores.base import JobStore
from para_attn_server.stores.memory import MemoryStore
from para_attn_server.stores.migrate import migrate
from para_attn_server.stores.sql import SqlStore

OpenStore = Callable[..., JobStore]
Steady = Callable[[], float]


class Backend(Protocol):
    """One empty store, made anew for a test."""

    def open(self, durable: bool, steady: Steady | None) -> JobStore:
        """One more handle on it, as another process would have."""


class SqliteBackend:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._path: Path = request.getfixturevalue("database")
        request.getfixturevalue("monkeypatch").setattr(sqlite, "BUSY_TIMEOUT", 1.0)

    def open(self, durable: bool, steady: Steady | None) -> JobStore:
        return SqlStore.open(self._path, durable=durable, steady=steady)


class MemoryBackend:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._first = MemoryStore()

    def open(self, durable: bool, steady: Steady | None) -> JobStore:
        return self._first.another(steady)


BACKENDS: dict[str, Callable[[pytest.FixtureRequest], Backend]] = {"sqlite": SqliteBackend, "memory": MemoryBackend}


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


@pytest.fixture(params=BACKENDS)
def open_store(request: pytest.FixtureRequest) -> Iterator[OpenStore]:
    """Opens one more handle on the test's store; closes all in the end."""
    backend = BACKENDS[request.param](request)
    opened: list[JobStore] = []

    def open_one(durable: bool = False, steady: Steady | None = None) -> JobStore:
        opened.append(backend.open(durable, steady))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> JobStore:
    return open_store()
