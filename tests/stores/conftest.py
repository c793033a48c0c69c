"""The stores that the contract suite runs against. A new store is one more entry in BACKENDS."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from para_attn_server.stores.base import JobStore
from para_attn_server.stores.migrate import migrate
from para_attn_server.stores.sql import SqlStore

BACKENDS: dict[str, Callable[..., JobStore]] = {"sqlite": SqlStore.open}
OpenStore = Callable[..., JobStore]


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
def open_store(request: pytest.FixtureRequest, database: Path) -> Iterator[OpenStore]:
    """Opens one more store on the test's database, as another process would; closes all in the end."""
    opened: list[JobStore] = []

    def open_one(durable: bool = False, steady: Callable[[], float] | None = None) -> JobStore:
        opened.append(BACKENDS[request.param](database, durable=durable, steady=steady))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> JobStore:
    return open_store()
