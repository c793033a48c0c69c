"""What has happened is written in order, however long the store refuses."""

from __future__ import annotations

from structlog.testing import capture_logs

from para_attn_server.core.errors import IllegalTransition, StoreUnavailable
from para_attn_server.pool.write_queue import LEFT_ALONE, WriteQueue


class Store:
    def __init__(self) -> None:
        self.refuses = False
        self.written: list[str] = []

    def write(self, what: str) -> None:
        if self.refuses:
            raise StoreUnavailable("locked")
        if what == "illegal":
            raise IllegalTransition("too late")
        self.written.append(what)


def test_a_write_that_the_store_refuses_is_made_later_and_in_order() -> None:
    now = 100.0
    store, writes = Store(), WriteQueue(lambda: now)
    writes.write(lambda: store.write("a"))
    store.refuses = True
    writes.write(lambda: store.write("b"))
    writes.write(lambda: store.write("c"))
    writes.flush()
    assert (store.written, writes.pending) == (["a"], True)
    store.refuses = False
    writes.flush()
    assert writes.pending, "a store that has refused is left alone for a while"
    now += LEFT_ALONE
    writes.flush()
    assert (store.written, writes.pending) == (["a", "b", "c"], False)


def test_a_transition_that_came_too_late_holds_nothing_up() -> None:
    store, writes = Store(), WriteQueue()
    writes.write(lambda: store.write("illegal"))
    writes.write(lambda: store.write("a"))
    assert (store.written, writes.pending) == (["a"], False)


def test_what_may_be_lost_is_not_kept() -> None:
    store, writes = Store(), WriteQueue()
    store.refuses = True
    writes.try_write(lambda: store.write("step"))
    assert not writes.pending


def test_a_fault_of_the_program_holds_nothing_up() -> None:
    store, writes = Store(), WriteQueue()
    writes.write(lambda: print(1 / 0))
    writes.write(lambda: store.write("a"))
    assert (store.written, writes.pending) == (["a"], False)


def test_a_reason_is_logged_once_until_it_changes_or_is_over() -> None:
    store, writes = Store(), WriteQueue()
    with capture_logs() as logs:
        store.refuses = True
        for what in "abc":
            writes.write(lambda what=what: store.write(what), at_once=True)  # type: ignore[misc]
        assert str(writes.refusal) == "locked"
        store.refuses = False
        writes.flush(at_once=True)
        assert writes.refusal is None
        store.refuses = True
        writes.write(lambda: store.write("d"), at_once=True)
    refusal = "job store unavailable; queued writes will be retried"
    assert [entry["event"] for entry in logs] == [refusal, "job store is available again", refusal]
