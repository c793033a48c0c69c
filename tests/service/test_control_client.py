"""A web worker's end of the control channel, against a real Unix socket that the test plays the controller on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from para_attn_server.core.errors import ControllerUnreachable, StoreUnavailable
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.wire import control as channel
from para_attn_server.core.wire.control import (
    CancelOrder,
    CancelReply,
    Follow,
    GroupState,
    GroupView,
    JobUpdate,
    LineBuffer,
    PoolView,
    QueueView,
    RankView,
    Submitted,
)
from para_attn_server.service.control_client import ControlClient

VIEW = PoolView(started_at=1.0, groups=[GroupView(0, GroupState.READY, 2.0, [RankView(0, 7, "cpu")])], mean_seconds=3.0)


def job(job_id: str) -> Job:
    """A job that was just accepted."""
    return Job(job_id, 1, JobStatus.QUEUED, None, "/a.png", 1.0)


class Parent:
    """The controller's end of one connection at a time."""

    def __init__(self, state_dir: Path) -> None:
        self.listener = channel.listen(state_dir)
        self.listener.settimeout(10)
        self.connection: socket.socket | None = None
        self._lines = LineBuffer()
        self._waiting: list[object] = []

    def accept(self, view: PoolView | None = VIEW) -> None:
        """Take the link's next connection, greeting it with a view."""
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(10)
        self._lines = LineBuffer()
        if view is not None:
            self.send(view)

    def send(self, message: channel.ToWeb) -> None:
        """News or an answer."""
        self.send_bytes(channel.encode(message))

    def send_bytes(self, data: bytes) -> None:
        """Anything."""
        assert self.connection is not None
        self.connection.sendall(data)

    def receive(self) -> object:
        """The link's next message."""
        assert self.connection is not None
        while not self._waiting:
            self._waiting.extend(self._lines.feed(self.connection.recv(1 << 16)))
        return self._waiting.pop(0)

    def hang_up(self) -> None:
        """End the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def close(self) -> None:
        """Vanish."""
        self.hang_up()
        self.listener.close()


class Interrupted:
    """A condition; `then` happens when this thread has let go of its lock for the first time."""

    def __init__(self, condition: threading.Condition, then: Callable[[], None]) -> None:
        self._condition, self._then, self._thread = condition, [then], threading.get_ident()

    def __enter__(self) -> bool:
        return self._condition.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._condition.__exit__(*exception)
        if threading.get_ident() == self._thread and self._then:
            self._then.pop()()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._condition, name)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    """A listening controller."""
    parent = Parent(tmp_path)
    yield parent
    parent.close()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[ControlClient]:
    """A link that is not started yet; its thread is gone afterwards."""
    link = ControlClient(tmp_path)
    yield link
    link.close()
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "control-client"], 5)


@pytest.fixture
def linked(parent: Parent, link: ControlClient) -> ControlClient:
    """A link on the line."""
    link.start()
    parent.accept()
    assert link.pool(timeout=5) == VIEW
    return link


def test_it_starts_no_thread_before_it_is_asked(link: ControlClient) -> None:
    assert not [t for t in threading.enumerate() if t.name == "control-client"]
    assert link.pool() is None
    assert not link.connected
    link.submitted(job("a"))  # lost, and nobody minds


def test_it_keeps_the_latest_view_also_of_a_controller_that_is_gone(parent: Parent, linked: ControlClient) -> None:
    parent.send(PoolView(started_at=9.0))
    wait_until(lambda: linked.pool() == PoolView(started_at=9.0), 5)
    parent.close()
    wait_until(lambda: not linked.connected, 5)
    assert linked.pool() == PoolView(started_at=9.0)


def test_it_knows_the_places_in_the_queue_that_were_published_last(parent: Parent, linked: ControlClient) -> None:
    assert (linked.place("a"), linked.queue) == (None, QueueView())
    parent.send(QueueView(["b", "a"], [5.0, None]))
    wait_until(lambda: linked.place("b") == (0, 5.0), 5)
    assert (linked.place("a"), linked.place("c")) == ((1, None), None)
    parent.send(QueueView(["a"], [9.0]))
    wait_until(lambda: linked.place("a") == (0, 9.0), 5)
    assert linked.place("b") is None
    parent.close()
    wait_until(lambda: linked.place("a") is None, 5, "what nobody keeps up to date is forgotten")


def test_waiting_for_a_first_view_ends_at_its_timeout(link: ControlClient) -> None:
    began = time.monotonic()
    assert link.pool(timeout=0.1) is None
    assert 0.09 < time.monotonic() - began < 2


def test_a_hint_reaches_the_controller(parent: Parent, linked: ControlClient) -> None:
    linked.submitted(job("abc"))
    assert parent.receive() == Submitted(job("abc"))


def test_it_keeps_the_latest_step_of_each_job(parent: Parent, linked: ControlClient) -> None:
    for step in range(3):
        parent.send(JobUpdate("a", "running", step, 10))
    parent.send(JobUpdate("b", "running", 1, None))
    wait_until(lambda: linked.live("b"), 5)
    news = linked.live("a")
    assert news is not None
    assert news.update == JobUpdate("a", "running", 2, 10)
    assert linked.live("c") is None


def test_a_life_lasts_as_long_as_only_steps_change(parent: Parent, linked: ControlClient) -> None:
    lives = []
    for status, step in [("running", 0), ("running", 5), ("queued", 5), ("running", 0), ("running", 1), ("running", 0)]:
        parent.send(JobUpdate("a", status, step, 10))
        wait_until(lambda s=status, n=step: (x := linked.live("a")) and (x.update.status, x.update.step) == (s, n), 5)
        news = linked.live("a")
        assert news is not None
        lives.append(news.life)
    assert lives[0] == lives[1]
    assert lives[3] == lives[4]
    assert len(set(lives)) == 4


def test_a_running_jobs_steps_are_asked_for_once_in_a_run(parent: Parent, linked: ControlClient) -> None:
    linked.follow("a")  # it ran before this connection: nothing has been said of it
    assert parent.receive() == Follow("a")
    for run in range(2):
        parent.send(JobUpdate("a", "queued", 0, None))
        parent.send(JobUpdate("a", "running", run, 10))
        wait_until(
            lambda n=run: (news := linked.live("a")) and (news.update.status, news.update.step) == ("running", n), 5
        )
        linked.follow("a")
        linked.follow("a")
        linked.submitted(job("next"))
        assert [parent.receive(), parent.receive()] == [Follow("a"), Submitted(job("next"))]
    parent.send(JobUpdate("a", "succeeded", 10, 10))
    wait_until(lambda: (news := linked.live("a")) and news.update.status == "succeeded", 5)
    linked.follow("a")
    linked.submitted(job("last"))
    assert parent.receive() == Submitted(job("last"))


def test_its_memory_of_jobs_is_bounded(parent: Parent, linked: ControlClient) -> None:
    for number in range(3000):
        parent.send(JobUpdate(str(number), "running", 0, None))
    wait_until(lambda: linked.live("2999"), 10)
    assert linked.live("0") is None
    assert linked.live("2900") is not None


def test_a_watcher_is_woken_by_its_job_alone_and_not_by_steps(parent: Parent, linked: ControlClient) -> None:
    with linked.watch("a") as woken:
        parent.send(JobUpdate("b", "succeeded", 1, 1))
        wait_until(lambda: linked.live("b"), 5)
        assert not woken.is_set()
        parent.send(JobUpdate("a", "running", 1, 2))
        wait_until(lambda: (news := linked.live("a")) and news.update.step == 1, 5)
        assert not woken.is_set()
        parent.send(JobUpdate("a", "succeeded", 2, 2))
        assert woken.wait(5)


def test_watchers_are_woken_when_the_link_goes_down_and_when_the_server_stops(
    parent: Parent, linked: ControlClient
) -> None:
    with linked.watch("a") as woken:
        parent.send(PoolView(started_at=1.0, stopping=True))
        assert woken.wait(5)
        woken.clear()
        parent.hang_up()
        assert woken.wait(5)
        assert linked.live("a") is None


def test_it_connects_anew_and_forgets_the_old_connections_news(parent: Parent, linked: ControlClient) -> None:
    parent.send(JobUpdate("a", "running", 4, 10))
    wait_until(lambda: linked.live("a"), 5)
    parent.hang_up()
    parent.accept(PoolView(started_at=5.0))
    wait_until(lambda: linked.pool() == PoolView(started_at=5.0), 5)
    assert linked.connected
    assert linked.live("a") is None
    linked.submitted(job("b"))
    assert parent.receive() == Submitted(job("b"))


def test_it_waits_for_a_controller_that_comes_late(tmp_path: Path, link: ControlClient) -> None:
    link.start()
    wait_until(lambda: not link.connected, 5)
    parent = Parent(tmp_path)
    try:
        parent.accept()
        assert link.pool(timeout=5) == VIEW
    finally:
        parent.close()


def test_garbage_from_the_controller_makes_it_connect_anew(parent: Parent, linked: ControlClient) -> None:
    parent.send_bytes(b'[]\n{"type":"Nope"}\n')
    parent.accept(PoolView(started_at=6.0))
    wait_until(lambda: linked.pool() == PoolView(started_at=6.0), 5)


# --- cancel ---


@pytest.mark.parametrize("told", ["abc", None])
def test_a_cancel_is_answered_by_the_controller(parent: Parent, linked: ControlClient, told: str | None) -> None:
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(linked.cancel, "abc", 5)
        order = parent.receive()
        assert isinstance(order, CancelOrder)
        assert order.job_id == "abc"
        parent.send(CancelReply(order.request + 1000, "somebody else's"))
        parent.send(CancelReply(order.request, told))
        assert answer.result(5) == CancelReply(order.request, told)


def test_a_cancel_that_the_store_refuses_is_said_at_once(parent: Parent, linked: ControlClient) -> None:
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(linked.cancel, "abc", 60)
        order = parent.receive()
        assert isinstance(order, CancelOrder)
        parent.send(CancelReply(order.request, None, "the disk is full"))
        with pytest.raises(StoreUnavailable) as refused:
            answer.result(5)
    assert refused.value.public == "the disk is full"


def test_cancels_at_once_get_each_their_own_answer(parent: Parent, linked: ControlClient) -> None:
    with ThreadPoolExecutor(8) as executor:
        answers = {name: executor.submit(linked.cancel, name, 5) for name in "abcdefgh"}
        orders = [parent.receive() for _ in answers]
        for order in reversed(orders):
            assert isinstance(order, CancelOrder)
            parent.send(CancelReply(order.request, f"{order.job_id}!"))
        assert {name: answer.result(5).job_id for name, answer in answers.items()} == {n: f"{n}!" for n in "abcdefgh"}


def test_a_cancel_without_an_answer_ends_with_its_deadline(parent: Parent, linked: ControlClient) -> None:
    began = time.monotonic()
    with pytest.raises(ControllerUnreachable):
        linked.cancel("a", timeout=0.2)
    assert time.monotonic() - began < 3


def test_a_cancel_without_a_controller_is_refused(link: ControlClient) -> None:
    with pytest.raises(ControllerUnreachable):
        link.cancel(None, timeout=0.2)


def test_a_cancel_is_not_kept_waiting_by_a_connection_that_was_lost(parent: Parent, linked: ControlClient) -> None:
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(linked.cancel, "a", 60)
        parent.receive()
        parent.hang_up()
        with pytest.raises(ControllerUnreachable):
            answer.result(5)


def test_a_cancel_that_is_refused_for_a_lost_connection_is_not_ordered_on_the_next(
    parent: Parent, linked: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reconnect() -> None:
        parent.hang_up()
        parent.accept(PoolView(started_at=7.0))
        wait_until(lambda: linked.pool() == PoolView(started_at=7.0), 5)

    monkeypatch.setattr(linked, "_changed", Interrupted(linked._changed, reconnect))
    with pytest.raises(ControllerUnreachable):
        linked.cancel("a", timeout=5)
    linked.submitted(job("b"))
    assert parent.receive() == Submitted(job("b"))


def test_a_controller_that_reads_nothing_holds_nobody_up(parent: Parent, linked: ControlClient) -> None:
    began = time.monotonic()
    while linked.connected and time.monotonic() - began < 20:
        linked.submitted(job("x" * 60_000))
    assert time.monotonic() - began < 10
    parent.hang_up()
    parent.accept(PoolView(started_at=8.0))
    wait_until(lambda: linked.pool() == PoolView(started_at=8.0), 5)


def test_closing_ends_the_thread_and_wakes_whoever_waits(parent: Parent, linked: ControlClient) -> None:
    with linked.watch("a") as woken:
        linked.close()
        assert woken.is_set()
    assert linked.closing
    assert not linked.connected
    linked.close()


def test_a_view_that_is_older_than_a_reported_end_is_waited_for(parent: Parent, linked: ControlClient) -> None:
    busy = replace(VIEW, groups=[replace(VIEW.groups[0], state="busy", job_id="j")])
    parent.send(busy)
    parent.send(JobUpdate("j", "running", 1, 2))
    wait_until(lambda: linked.live("j"), 5)
    assert linked.pool(1.0) == busy
    parent.send(JobUpdate("j", "canceled", 1, 2))
    wait_until(lambda: linked.live("j").update.status == "canceled", 5)  # type: ignore[union-attr]
    assert linked.pool() == busy, "who does not wait gets what is known"
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(linked.pool, 1.0)
        parent.send(VIEW)
        assert asked.result(5) == VIEW
