"""A store is found by its URL."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from para_attn_server.core.errors import StoreUnavailable, UsageError
from para_attn_server.core.job import NewJob
from para_attn_server.core.settings import Settings
from para_attn_server.stores.memory import MemoryStore
from para_attn_server.stores.open import KINDS, find_kind, open_store, prepare_store, store_notices
from para_attn_server.stores.sql import SqlStore


def test_a_sqlite_store_opens_by_path_or_url(database: Path) -> None:
    for place in (database, str(database), f"sqlite:///{database}"):
        with closing(open_store(place, durable=True)) as store:
            assert isinstance(store, SqlStore) and store.counts().queued == 0


def test_a_path_is_a_path_whatever_is_in_it(tmp_path: Path) -> None:
    database = tmp_path / "memory:" / "a?b%20#c.db"
    database.parent.mkdir()
    prepare_store(database)
    with closing(open_store(database, durable=True)) as store:
        store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    assert database.exists()


@pytest.mark.parametrize("url", ["mysql://user:secret@host/name", "sqlite://", "sqlite://secret/a.db", "://secret"])
def test_what_names_no_store_is_refused(url: str) -> None:
    for use in (lambda: open_store(url, durable=True), lambda: prepare_store(url), lambda: store_notices(url)):
        with pytest.raises(UsageError, match=r"sqlite://"):
            use()


def test_a_refusal_names_no_password() -> None:
    with pytest.raises(UsageError) as caught:
        open_store("mysql://user:secret@host/name", durable=True)
    assert "secret" not in str(caught.value)


def test_a_memory_store_is_shared_by_its_name_and_new_without_one() -> None:
    one, same, other = (open_store(f"memory://{name}", durable=True) for name in ("one", "one", "other"))
    nameless = open_store("memory://", durable=False), open_store("memory://", durable=False)
    job = one.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    assert same.get(job.id) == job and isinstance(same, MemoryStore)
    assert not any(store.get(job.id) for store in (other, *nameless))


@pytest.mark.parametrize("scheme", KINDS)
def test_every_kind_is_where_the_list_says(scheme: str) -> None:
    kind, place = find_kind(f"{scheme}:///place/of/it")
    assert callable(kind.open) and place == "/place/of/it"


def test_preparing_makes_a_database_and_says_what_is_wrong_with_one(tmp_path: Path) -> None:
    prepare_store(tmp_path / "new.db")
    with closing(open_store(tmp_path / "new.db", durable=True)) as store:
        assert store.counts().queued == 0
    (tmp_path / "bad.db").write_bytes(b"no database at all" * 500)
    with pytest.raises(StoreUnavailable, match="damaged"):
        prepare_store(tmp_path / "bad.db")


def test_what_was_kept_is_told(tmp_path: Path) -> None:
    database = tmp_path / "jobs.sqlite3"
    assert store_notices(database) == []
    for name in ("-wal.damaged-20260101T000000Z", ".replaced-20260101T000000Z"):
        (tmp_path / f"jobs.sqlite3{name}").touch()
    lost, replaced = store_notices(database)
    assert lost.endswith("jobs.sqlite3-wal.damaged-20260101T000000Z") and "damaged write-ahead log" in lost
    assert replaced.endswith("jobs.sqlite3.replaced-20260101T000000Z") and "replaced" in replaced


def test_a_kind_that_is_not_used_is_not_loaded() -> None:
    program = (
        "import sys; from para_attn_server.stores.open import open_store; open_store('memory://', durable=True);"
        "print('sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_the_package_has_the_store_in_memory_and_loads_it_at_first_use() -> None:
    program = (
        "import sys, para_attn_server as p; before = 'para_attn_server.stores.memory' in sys.modules;"
        "print(before, p.MemoryStore().counts().queued, 'sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False 0 False"


def test_a_server_cannot_have_its_queue_in_memory() -> None:
    with pytest.raises(UsageError, match="each process of a server would have a store of its own"):
        prepare_store("memory://queue")


def test_a_setting_names_the_store_of_a_server(tmp_path: Path) -> None:
    assert Settings(model="m", state_dir=tmp_path).job_store == tmp_path / "jobs.sqlite3"
    assert Settings(model="m", state_dir=tmp_path, store="sqlite:///a.db").job_store == "sqlite:///a.db"
