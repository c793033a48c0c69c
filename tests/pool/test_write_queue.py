"""What has happened is written in order, however long the store hangs or refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from para_attn_server.core.errors import IllegalTransition, StoreUnavailable
from para_attn_server.pool.write_queue import LEFT_ALONE, STUCK, Prepare, WriteQueue
from para_attn_server.stores.base import JobStore
from para_attn_server.stores.memory import MemoryStore


class Store:
    """Does the work when the test says so; refuses on request."""

    def __init__(self) -> None:
        self.refuses = False
        self.written: list[str] = []
        self.undone: list[str] = []
        self.at_work: tuple[Any, Callable[[Any], None], Callable[[Exception], None]] | None = None
        self.now = 100.0
        self.queue = WriteQueue(self, lambda: self.now)

    def do(self, work: Any, done: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        assert self.at_work is None, "one at a time"
        self.at_work = work, done, failed

    def go_on(self, most: int = 1000) -> None:
        """Do what it has been given, and what follows from that."""
        while self.at_work is not None and most:
            (work, done, failed), self.at_work, most = self.at_work, None, most - 1
            try:
                effect = work(MemoryStore())
            except Exception as error:
                failed(error)
            else:
                done(effect)

    def work(self, what: str) -> Prepare:
        def work(_: JobStore) -> None:
            if self.refuses:
                raise StoreUnavailable("locked")
            if what == "illegal":
                raise IllegalTransition("too late")
            if what == "fault":
                raise ZeroDivisionError
            self.written.append(what)

        return lambda: work

    def write(self, *names: str) -> None:
        for what in names:
            self.queue.write(self.work(what), lambda _, what=what: self.undone.append(what))  # type: ignore[misc]

    def attempt(self, *names: str) -> None:
        for what in names:
            self.queue.attempt(self.work(what), lambda _, what=what: self.undone.append(what))  # type: ignore[misc]


def test_a_write_that_the_store_refuses_is_made_later_and_in_order() -> None:
    store = Store()
    store.write("a")
    store.go_on()
    store.refuses = True
    store.write("b", "c")
    store.go_on()
    assert (store.written, store.queue.pending, store.undone) == (["a"], True, ["b"])
    store.refuses = False
    store.queue.flush()
    assert store.at_work is None, "a store that has refused is left alone for a while"
    store.now += LEFT_ALONE
    store.queue.flush()
    store.go_on()
    assert (store.written, store.queue.pending) == (["a", "b", "c"], False)


def test_what_came_too_late_and_faults_of_the_program_hold_nothing_up() -> None:
    store = Store()
    store.write("illegal", "fault", "a")
    store.queue.write(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    store.attempt("illegal", "b")
    with capture_logs() as logs:
        store.go_on()
    assert (store.written, store.queue.pending) == (["a", "b"], False)
    assert store.undone == ["illegal", "fault", "illegal"]
    assert len([entry for entry in logs if entry["log_level"] == "error"]) == 3


def test_what_is_not_kept_comes_to_nothing_with_what_is_refused_before_it() -> None:
    store = Store()
    store.refuses = True
    store.attempt("step")
    store.go_on()
    store.write("end")
    store.attempt("start", "cancel")
    store.now += LEFT_ALONE
    store.queue.flush()
    store.go_on()
    assert (store.undone, store.queue.pending) == (["step", "end", "start", "cancel"], True)


def test_of_a_store_that_is_stuck_nothing_is_awaited_that_can_be_refused() -> None:
    store = Store()
    store.write("a")
    store.attempt("start")
    store.write("b")
    store.now += STUCK - 0.1
    store.queue.tick()
    assert store.queue.trouble is None and store.undone == []
    store.now += 0.1
    store.queue.tick()
    trouble = store.queue.trouble
    assert trouble is not None and trouble.public == "the queue's database does not respond"
    assert store.undone == ["start"] and store.queue.pending
    store.go_on()
    assert (store.written, store.queue.pending, store.queue.trouble) == (["a", "b"], False, None)


def test_what_is_to_be_written_is_decided_when_its_turn_has_come() -> None:
    store, open_questions = Store(), ["x"]
    store.write("a")
    store.queue.write(lambda: store.work("b")() if open_questions else None)
    open_questions.clear()
    store.go_on()
    assert store.written == ["a"] and not store.queue.pending


def test_what_follows_from_a_write_comes_before_the_next_write() -> None:
    store = Store()
    order = store.written
    store.queue.write(lambda: lambda _: lambda: order.append("follows from a"))
    store.queue.write(lambda: lambda _: order.append("b"))
    store.go_on()
    assert order == ["follows from a", "b"]


def test_a_reason_is_logged_once_until_it_changes_or_is_over() -> None:
    store = Store()
    with capture_logs() as logs:
        store.refuses = True
        for _ in range(3):
            store.write("a")
            store.queue.flush(at_once=True)
            store.go_on()
        assert str(store.queue.refusal) == "locked"
        store.refuses = False
        store.queue.flush(at_once=True)
        store.go_on()
        assert store.queue.refusal is None
        store.refuses = True
        store.write("d")
        store.go_on()
    refusal = "job store unavailable; queued writes will be retried"
    assert [entry["event"] for entry in logs] == [refusal, "job store is available again", refusal]


HAPPENINGS = st.lists(st.sampled_from(["write", "attempt", "go on", "refuse", "work", "later", "flush", "now"]))


@given(HAPPENINGS)
def test_whatever_happens_what_is_kept_is_written_once_and_in_order(happenings: list[str]) -> None:
    store, kept, tried = Store(), list[str](), list[str]()
    for number, happening in enumerate(happenings):
        match happening:
            case "write":
                kept.append(f"k{number}")
                store.write(kept[-1])
            case "attempt":
                tried.append(f"a{number}")
                store.attempt(tried[-1])
            case "go on":
                store.go_on(1)
            case "refuse" | "work":
                store.refuses = happening == "refuse"
            case "later":
                store.now += 1.5
                store.queue.tick()
            case "flush" | "now":
                store.queue.flush(at_once=happening == "now")
    store.refuses = False
    store.queue.flush(at_once=True)
    store.go_on()
    assert [what for what in store.written if what in kept] == kept
    made = [what for what in store.written if what in tried]
    assert sorted(made + [what for what in store.undone if what in tried]) == sorted(tried), "each made or refused"
