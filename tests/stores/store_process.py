"""A process of its own that works on a store; started by the store's contract tests.

python store_process.py insert PATH COUNT MAX_QUEUED    after a line on stdin: inserts, prints each accepted id
python store_process.py hold PATH                       takes the write lock, prints `held`, waits for stdin
python store_process.py greenlets PATH COUNT            inserts from as many greenlets under monkey patching
"""

from __future__ import annotations

import sys

from para_attn_server.core.errors import QueueFull
from para_attn_server.core.job import NewJob
from para_attn_server.stores.sql import SqlStore
from para_attn_server.stores.sqlite import begin_write, create_sqlite_engine


def insert(path: str, count: str, max_queued: str) -> None:
    store = SqlStore.open(path, durable=True)
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
    store = SqlStore.open(path, durable=True)  # as gunicorn does: the app is loaded, then the worker is patched
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


if __name__ == "__main__":
    {"insert": insert, "hold": hold, "greenlets": greenlets}[sys.argv[1]](*sys.argv[2:])
