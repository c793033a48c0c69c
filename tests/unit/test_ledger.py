"""What has happened is written in order, however long the store refuses."""

from __future__ import annotations

from structlog.testing import capture_logs

from para_attn_server.core.errors import IllegalTransition, StateDirError
from para_attn_server.pool.ledger import LEFT_ALONE, Ledger


class Store:
    def __init__(self) -> None:
        self.refuses = False
        self.written: list[str] = []

    def write(self, what: str) -> None:
        if self.refuses:
            raise StateDirError("locked")
        if what == "illegal":
            raise IllegalTransition("too late")
        self.written.append(what)


def test_a_write_that_the_store_refuses_is_made_later_and_in_order() -> None:
    now = 100.0
    store, ledger = Store(), Ledger(lambda: now)
    ledger.must(lambda: store.write("a"))
    store.refuses = True
    ledger.must(lambda: store.write("b"))
    ledger.must(lambda: store.write("c"))
    ledger.catch_up()
    assert (store.written, ledger.behind) == (["a"], True)
    store.refuses = False
    ledger.catch_up()
    assert ledger.behind, "a store that has refused is left alone for a while"
    now += LEFT_ALONE
    ledger.catch_up()
    assert (store.written, ledger.behind) == (["a", "b", "c"], False)


def test_a_transition_that_came_too_late_holds_nothing_up() -> None:
    store, ledger = Store(), Ledger()
    ledger.must(lambda: store.write("illegal"))
    ledger.must(lambda: store.write("a"))
    assert (store.written, ledger.behind) == (["a"], False)


def test_what_may_be_lost_is_not_kept() -> None:
    store, ledger = Store(), Ledger()
    store.refuses = True
    ledger.may(lambda: store.write("step"))
    assert not ledger.behind


def test_a_fault_of_the_program_holds_nothing_up() -> None:
    store, ledger = Store(), Ledger()
    ledger.must(lambda: print(1 / 0))
    ledger.must(lambda: store.write("a"))
    assert (store.written, ledger.behind) == (["a"], False)


def test_a_reason_is_logged_once_until_it_changes_or_is_over() -> None:
    store, ledger = Store(), Ledger()
    with capture_logs() as logs:
        store.refuses = True
        for what in "abc":
            ledger.must(lambda what=what: store.write(what), at_once=True)  # type: ignore[misc]
        assert str(ledger.refusal) == "locked"
        store.refuses = False
        ledger.catch_up(at_once=True)
        assert ledger.refusal is None
        store.refuses = True
        ledger.must(lambda: store.write("d"), at_once=True)
    refusal = "the store refuses; what has happened is written later"
    assert [entry["event"] for entry in logs] == [refusal, "the store can be written again", refusal]
