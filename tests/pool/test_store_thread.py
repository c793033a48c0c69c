"""All that is asked of the store is done in one thread, in order, and comes back where it was asked for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from loops import Loop

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import NewJob
from para_attn_server.pool.store_thread import StoreThread
from para_attn_server.stores.base import JobStore
from para_attn_server.stores.memory import MemoryStore


def test_work_is_done_in_order_in_one_thread_and_its_result_comes_on_the_loop() -> None:
    store, threads, results = MemoryStore(), set[int](), list[object]()

    def work(number: int, store: JobStore) -> int:
        threads.add(threading.get_ident())
        if number == 2:
            raise StoreUnavailable("locked")
        return store.insert(NewJob({}, "/a.png"), 10, 1.0).seq

    with closing(Loop(store)) as loop:
        for number in range(4):
            loop.store.do(
                lambda store, number=number: work(number, store),  # type: ignore[misc]
                lambda seq: results.append((seq, threading.get_ident())),
                lambda error: results.append((str(error), threading.get_ident())),
            )
        assert results == [], "nothing comes back before the loop goes round"
        loop.settle()
    here = threading.get_ident()
    assert results == [(1, here), (2, here), ("locked", here), (3, here)]
    assert len(threads) == 1 and here not in threads


def test_other_threads_call_the_store_as_if_it_were_theirs() -> None:
    with closing(Loop(MemoryStore())) as loop, ThreadPoolExecutor(4) as others:
        store = loop.store.caller()
        jobs = list(others.map(lambda _: store.insert(NewJob({}, "/a.png"), max_queued=3, now=1.0), range(3)))
        assert sorted(job.seq for job in jobs) == [1, 2, 3] and store.counts().queued == 3


def test_a_store_that_does_not_respond_is_unavailable_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("para_attn_server.pool.store_thread.CALLER_WAITS", 0.05)
    hangs = threading.Event()
    with closing(Loop(MemoryStore())) as loop:
        loop.store.submit(lambda _: hangs.wait(30))
        with pytest.raises(StoreUnavailable, match="does not respond"):
            loop.store.caller().counts()
        hangs.set()


def test_what_comes_after_the_end_is_refused_and_waits_for_nothing() -> None:
    store = StoreThread(MemoryStore(), lambda _: None)
    assert store.submit(lambda store: store.counts().queued).result(10) == 0
    assert store.close(10)
    with pytest.raises(StoreUnavailable, match="closed"):
        store.caller().counts()
    store.do(lambda _: None, lambda _: None, lambda _: None)
    assert store.outstanding == 0 and store.close(10)


def test_a_store_that_hangs_does_not_keep_the_end_waiting() -> None:
    hangs = threading.Event()
    store = StoreThread(MemoryStore(), lambda _: None)
    store.submit(lambda _: hangs.wait(30))
    assert not store.close(0.05)
    hangs.set()
    assert store.close(10)
