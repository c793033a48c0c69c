"""The stores that the contract suite runs against. A new store is one more entry in BACKENDS."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from postgres import EMPTY, RunningPostgres

from para_attn_server.stores import sqlite
from para_attn_server.stores.base import JobStore
from para_attn_server.stores.open import open_store as open_url

OpenStore = Callable[..., JobStore]
Steady = Callable[[], float]


def sqlite_url(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue("monkeypatch").setattr(sqlite, "BUSY_TIMEOUT", 1.0)
    return f"sqlite:///{request.getfixturevalue('database')}"


def memory_url(request: pytest.FixtureRequest) -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def shared_postgres(postgres: RunningPostgres, empty_postgres: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """One database for many tests, and what empties it: to make one takes longer than a test."""
    name = postgres.new_database(empty_postgres)
    with postgres.connect(name) as admin:
        yield postgres.url(name), lambda: admin.execute(EMPTY)


@pytest.fixture
def shared_url(shared_postgres: tuple[str, Callable[[], object]]) -> str:
    """Of that database, with nothing in it."""
    url, empty = shared_postgres
    empty()
    return url


def postgres_url(request: pytest.FixtureRequest) -> str:
    from para_attn_server.stores import postgres

    request.getfixturevalue("monkeypatch").setattr(postgres, "LOCK_WITHIN", 1.0)
    url: str = request.getfixturevalue("shared_url")
    return url


BACKENDS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": sqlite_url,
    "memory": memory_url,
    "postgres": postgres_url,
}
"""Each makes an empty store for one test; its URL."""


@pytest.fixture(params=BACKENDS)
def open_store(request: pytest.FixtureRequest) -> Iterator[OpenStore]:
    """Opens one more handle on the test's store, the first of them as the controller does; closes all in the end."""
    url = BACKENDS[request.param](request)
    opened: list[JobStore] = []

    def open_one(steady: Steady | None = None) -> JobStore:
        opened.append(open_url(url, durable=bool(opened), steady=steady))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> JobStore:
    return open_store()
