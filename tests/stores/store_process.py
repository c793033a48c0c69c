"""A process of its own that works on a store; started by the store's contract tests.

python store_process.py insert STORE COUNT MAX_QUEUED   after a line on stdin: inserts, prints each accepted id
python store_process.py hold PATH                       takes the write lock, prints `held`, waits for stdin
python store_process.py greenlets STORE COUNT           inserts from as many greenlets under monkey patching
python store_process.py sleepers URL COUNT              as many greenlets wait a second for PostgreSQL; prints how often
                                                        another one had its turn meanwhile, and the seconds
"""

from __future__ import annotations

import sys
import time

from para_attn_server.core.errors import QueueFull
from para_attn_server.core.job import NewJob
from para_attn_server.stores.open import find_kind, open_store
from para_attn_server.stores.sql import SqlStore
from para_attn_server.stores.sqlite import begin_write, create_sqlite_engine


def insert(path: str, count: str, max_queued: str) -> None:
    store = open_store(path, durable=True)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(count)):
        try:
            print(store.insert(NewJob({"number": number}, "/out/a.png"), int(max_queued), 1.0).id, flush=True)
        except QueueFull:
            print("full", flush=True)
    store.close()


def hold(path: str) -> None:
    with create_sqlite_engine(path, durable=True).connect() as connection:
        begin_write(connection)
        connection.exec_driver_sql("DELETE FROM jobs")
        print("held", flush=True)
        sys.stdin.readline()


def greenlets(path: str, count: str) -> None:
    store = open_store(path, durable=True)  # as gunicorn does: the app is loaded, then the worker is patched
    from gevent import monkey

    monkey.patch_all()
    import gevent

    def one(number: int) -> str:
        job = store.insert(NewJob({"number": number}, "/out/a.png"), 10_000, 1.0)
        gevent.sleep(0)
        found = store.get(job.id)
        assert found == job
        return job.id

    jobs = [gevent.spawn(one, number) for number in range(int(count))]
    gevent.joinall(jobs, raise_error=True)
    print(len({job.value for job in jobs}), flush=True)
    store.close()


def sleepers(url: str, count: str) -> None:
    find_kind(url)
    from gevent import monkey

    monkey.patch_all()
    import gevent

    store = open_store(url, durable=True)
    assert isinstance(store, SqlStore)
    store.counts()
    turns, asleep = 0, int(count)
    began = time.monotonic()

    def sleep() -> None:
        nonlocal asleep
        with store._reading() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(1)")
        asleep -= 1

    def go_round() -> None:
        nonlocal turns
        while asleep:
            turns += 1
            gevent.sleep(0.01)

    gevent.joinall([gevent.spawn(go_round), *(gevent.spawn(sleep) for _ in range(asleep))], raise_error=True)
    print(turns, round(time.monotonic() - began, 2), flush=True)
    store.close()


if __name__ == "__main__":
    {"insert": insert, "hold": hold, "greenlets": greenlets, "sleepers": sleepers}[sys.argv[1]](*sys.argv[2:])
