"""A job's stream of events, from a real controller's end of the channel and a real store to whoever listens."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from para_attn_server.controller.control_server import ControlServer
from para_attn_server.core.errors import JobError, JobNotFound
from para_attn_server.core.job import Job, JobStatus, NewJob, Output, Result
from para_attn_server.core.live_ring import MOST_EVENTS
from para_attn_server.core.settings import Settings
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import JobUpdate, PoolView, QueueView
from para_attn_server.core.wire.ranks import Emit
from para_attn_server.pool.transitions import Transition
from para_attn_server.service import job_events
from para_attn_server.service.caller import ANONYMOUS_CALLER
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.job_events import JobEvent
from para_attn_server.service.service import JobService
from para_attn_server.stores.base import LogRow, LogWrite
from para_attn_server.stores.sql import SqlStore

OUTPUT = Result((Output("/out/a.png", "image/png", 3, "00"),))


class Controller:
    """A controller without ranks: what happens to jobs is what a test says."""

    def __init__(self, folder: Path, store: SqlStore) -> None:
        self.store, self._folder = store, folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.do(self._start)

    def _start(self) -> None:
        self._server = ControlServer(lambda *_: None, lambda *_: None, lambda: PoolView(1.0))
        self._starting = self._loop.create_task(self._server.start(self._folder))

    def do(self, call: Callable[[], Any]) -> Any:
        """On its loop."""

        async def called() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(10)

    @property
    def listens(self) -> bool:
        return self.do(lambda: any(connection.listens for connection in self._server._connections))

    def moved(self, job: Job) -> None:
        """A transition is on record."""

        def report() -> None:
            self._server.live.observe(Transition(job))
            self._server.publish(JobUpdate(job.id, job.status, job.step, job.total_steps))

        self.do(report)

    def start(self, job_id: str) -> None:
        self.moved(self.store.start(job_id, 0, time.time(), "c"))

    def requeue(self, job_id: str) -> None:
        self.moved(self.store.requeue(job_id, "a rank died", True, time.time(), run=self._run(job_id)))

    def succeed(self, job_id: str) -> None:
        self.moved(self.store.succeed(job_id, OUTPUT, time.time(), run=self._run(job_id)))

    def fail(self, job_id: str) -> None:
        self.moved(self.store.fail(job_id, JobError("x", "y"), time.time(), run=self._run(job_id)))

    def _run(self, job_id: str) -> Any:
        job = self.store.get(job_id)
        assert job is not None
        return job.run_id

    def step(self, job_id: str, step: int) -> None:
        self.do(lambda: self._server.publish(JobUpdate(job_id, JobStatus.RUNNING, step, 9)))

    def queue(self, *jobs: str) -> None:
        self.do(lambda: self._server.publish(QueueView(list(jobs), [steady() + 50] * len(jobs))))

    def log(self, job_id: str, *lines: str) -> None:
        self.store.log(LogWrite([LogRow(job_id, "log", time.time(), {"text": line}) for line in lines]))
        self.do(lambda: self._server.live.rows_written(job_id))

    def emit(self, job_id: str, *data: Any, dropped: int = 0) -> None:
        def pieces() -> None:
            for each in data:
                binary = isinstance(each, bytes)
                piece = each if binary else json.dumps(each).encode()
                self._server.live.emitted(job_id, Emit(1, "emitted", piece, binary, dropped=dropped))

        self.do(pieces)

    def close(self) -> None:
        """As after kill -9: nothing of what it knew is left."""
        self.do(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Listener(threading.Thread):
    """Follows a job's events; `seen` has them without ids and times, positions left out."""

    def __init__(self, service: JobService, job_id: str, after: str | None = None) -> None:
        super().__init__(daemon=True)
        self._stream = service.events(ANONYMOUS_CALLER, job_id, after)
        self.events: list[JobEvent] = []
        self.heartbeats = 0
        self.ended = False
        self.start()

    def run(self) -> None:
        assert self._stream is not None
        for event in self._stream:
            if event is None:
                self.heartbeats += 1
            else:
                self.events.append(event)
        self.ended = True

    @property
    def seen(self) -> list[Any]:
        return [_brief(event) for event in self.events if event.type != "position"]

    def sees(self, *expected: Any) -> None:
        """All that it has seen, after a moment."""
        wait_until(lambda: len(self.seen) >= len(expected), 10, f"{expected}, not {self.seen}")
        assert self.seen == list(expected)

    @property
    def last_id(self) -> str:
        return self.events[-1].id


def _brief(event: JobEvent) -> Any:
    if event.type == "emitted":
        return event.base64 or event.data
    if event.type == "snapshot":
        return ("skipped", event.data["skipped"])
    value = event.data.get("text") or event.data.get("step") or event.data.get("run")
    return event.type if value is None else (event.type, value)


STARTED, AGAIN = ("started", 1), ("started", 2)


@pytest.fixture
def controller(tmp_path: Path, store: SqlStore) -> Iterator[Controller]:
    controller = Controller(tmp_path, store)
    yield controller
    controller.close()


@pytest.fixture
def service(tmp_path: Path, database: Path, controller: Controller) -> Iterator[JobService]:
    yield from web(tmp_path, database)


def web(folder: Path, database: Path, **settings: Any) -> Iterator[JobService]:
    """A web worker's service."""
    control = ControlClient(folder)
    control.start()
    outputs: Any = None
    own = SqlStore.open(database, durable=False)
    service = JobService(own, control, outputs, Settings(model="m", **settings))
    wait_until(lambda: control.connected, 5)
    yield service
    service.close()


@pytest.fixture
def job(store: SqlStore) -> str:
    return store.insert(NewJob({}, "/out/a.png"), 100, time.time()).id


@pytest.fixture
def running(controller: Controller, job: str) -> str:
    controller.start(job)
    return job


def test_a_jobs_life_comes_as_it_happens_in_order(controller: Controller, service: JobService, job: str) -> None:
    listener = Listener(service, job)
    listener.sees("queued")
    controller.queue("other", job)
    wait_until(lambda: [event.data["queue_position"] for event in listener.events if event.type == "position"] == [1])
    controller.start(job)
    controller.emit(job, {"n": 1}, b"\xff\xd8\xff")
    listener.sees("queued", STARTED, {"n": 1}, "/9j/")
    controller.log(job, "one", "two")
    listener.sees("queued", STARTED, {"n": 1}, "/9j/", ("log", "one"), ("log", "two"))
    controller.step(job, 3)
    wait_until(lambda: listener.seen[-1] == ("step", 3))
    controller.emit(job, "last")
    controller.step(job, 9)
    controller.succeed(job)
    wait_until(lambda: listener.ended)
    assert listener.seen[7:] in (["last", ("step", 9), "succeeded"], [("step", 9), "last", "succeeded"])


def test_who_comes_late_gets_what_is_kept(controller: Controller, service: JobService, running: str) -> None:
    controller.emit(running, *range(MOST_EVENTS + 5))
    listener = Listener(service, running)
    listener.sees("queued", STARTED, ("skipped", 5), *range(5, MOST_EVENTS + 5))
    controller.emit(running, "live")
    controller.step(running, 2)
    wait_until(lambda: listener.seen[-1] == ("step", 2))
    other = Listener(service, running)
    other.sees("queued", STARTED, ("skipped", 6), *range(6, MOST_EVENTS + 5), "live", ("step", 2))
    controller.emit(running, "gone?", dropped=2)
    wait_until(lambda: listener.seen[-2:] == other.seen[-2:] == [("skipped", 2), "gone?"])


def test_after_its_end_a_job_has_its_history_and_that_is_all(
    controller: Controller, service: JobService, running: str
) -> None:
    controller.emit(running, 1)
    controller.log(running, "one")
    controller.fail(running)
    listener = Listener(service, running)
    wait_until(lambda: listener.ended)
    assert listener.seen == ["queued", STARTED, ("log", "one"), "failed"]
    assert service.events(ANONYMOUS_CALLER, running, listener.last_id) is None
    with pytest.raises(JobNotFound):
        service.events(ANONYMOUS_CALLER, "0")


def test_the_last_events_come_before_the_end(controller: Controller, service: JobService, running: str) -> None:
    """The store has the end before the channel has brought the last events."""
    listener = Listener(service, running)
    listener.sees("queued", STARTED)
    run = controller._run(running)
    job = controller.store.succeed(running, OUTPUT, time.time(), run=run)
    controller.log(running)  # the listener looks
    controller.emit(running, "last")
    controller.moved(job)
    wait_until(lambda: listener.ended)
    assert listener.seen == ["queued", STARTED, "last", "succeeded"]


def test_a_stream_goes_on_behind_any_of_its_events(
    tmp_path: Path, database: Path, controller: Controller, service: JobService, running: str
) -> None:
    """In another web worker too, and nothing comes twice or is left out."""
    first = Listener(service, running)
    controller.emit(running, 1, 2)
    controller.log(running, "one")
    wait_until(lambda: len(first.seen) == 5)
    controller.emit(running, 3)
    wait_until(lambda: len(first.seen) == 6)
    for other in web(tmp_path, database):
        resumed = [Listener(each, running, event.id) for each in (other, service) for event in first.events]
        controller.succeed(running)
        for place, listener in enumerate(resumed):
            place = place % 6 + 1
            wait_until(lambda listener=listener: listener.ended)
            expected = [*first.seen[place:6], "succeeded"]
            for live in (True, False):  # which come in between each other as they are found
                assert [seen for seen in listener.seen if (type(seen) is int) is live] == [
                    seen for seen in expected if (type(seen) is int) is live
                ], place
            assert listener.seen[-1] == "succeeded"


def test_a_run_that_is_lost_is_told_in_its_place(controller: Controller, service: JobService, running: str) -> None:
    listener = Listener(service, running)
    controller.emit(running, "a")
    listener.sees("queued", STARTED, "a")
    controller.emit(running, "b")
    controller.requeue(running)
    controller.start(running)
    controller.emit(running, "c")
    expected = ["queued", STARTED, "a", "b", "requeued", AGAIN, "c"]
    listener.sees(*expected)
    Listener(service, running).sees("queued", STARTED, "requeued", AGAIN, "c")
    Listener(service, running, listener.events[2].id).sees(("skipped", None), "requeued", AGAIN, "c")


def test_after_the_controllers_death_the_lost_is_told_once_and_the_rest_comes(
    tmp_path: Path, store: SqlStore, controller: Controller, service: JobService, running: str
) -> None:
    listener = Listener(service, running)
    controller.emit(running, 1)
    listener.sees("queued", STARTED, 1)
    controller.close()
    successor = Controller(tmp_path, store)
    try:
        successor.requeue(running)
        successor.start(running)
        wait_until(lambda: successor.listens, 10, "it asks anew")
        successor.emit(running, 2)
        successor.succeed(running)
        wait_until(lambda: listener.ended)
        told = [seen for seen in listener.seen if seen != ("skipped", None)]
        assert told == ["queued", STARTED, 1, "requeued", AGAIN, 2, "succeeded"]
        assert listener.seen.count(("skipped", None)) == 1
    finally:
        successor.close()
        controller.__init__(tmp_path, store)  # type: ignore[misc]


def test_while_the_controller_is_away_the_store_is_looked_at(
    tmp_path: Path, store: SqlStore, controller: Controller, service: JobService, job: str
) -> None:
    listener = Listener(service, job)
    listener.sees("queued")
    controller.close()
    store.cancel(job, time.time())
    wait_until(lambda: listener.ended, 10)
    assert listener.seen == ["queued", "canceled"]
    controller.__init__(tmp_path, store)  # type: ignore[misc]


@pytest.mark.parametrize("after", ["", "nonsense", "999999.1-1", "1", "\u0661.0-0"])
def test_an_id_that_is_not_known_gives_a_snapshot_then_what_comes(
    controller: Controller, service: JobService, running: str, after: str
) -> None:
    controller.emit(running, *range(MOST_EVENTS + 5))
    listener = Listener(service, running, after)
    new = itertools.count(1000)
    wait_until(lambda: controller.emit(running, next(new)) or len(listener.seen) >= 2)
    controller.succeed(running)
    wait_until(lambda: listener.ended)
    numbers = listener.seen[1:-1]
    assert listener.seen == [("skipped", None), *numbers, "succeeded"]
    assert numbers == list(range(numbers[0], next(new))) and numbers[0] >= 1000
    late = Listener(service, running, after)
    wait_until(lambda: late.ended)
    assert late.seen == [("skipped", None), "succeeded"]


def test_a_stream_ends_where_its_job_is_deleted_meanwhile(
    controller: Controller, service: JobService, running: str
) -> None:
    listener = Listener(service, running)
    listener.sees("queued", STARTED)
    job = controller.store.succeed(running, OUTPUT, time.time(), run=controller._run(running))
    controller.store.delete([running])
    controller.moved(job)
    wait_until(lambda: listener.ended, 5)
    assert listener.seen == ["queued", STARTED]


def test_nobody_listens_any_more_once_the_streams_are_closed(
    controller: Controller, service: JobService, running: str
) -> None:
    streams = [service.events(ANONYMOUS_CALLER, running) for _ in range(3)]
    for stream in streams:
        assert stream is not None and next(stream) is not None
    assert controller.listens
    for stream in streams:
        stream.close()  # type: ignore[union-attr]
    wait_until(lambda: not controller.listens, 5)
    assert not service._control._feeds.jobs()


def test_silence_is_broken_by_a_heartbeat_and_the_stop_ends_the_streams(
    monkeypatch: pytest.MonkeyPatch, controller: Controller, service: JobService, job: str
) -> None:
    monkeypatch.setattr(job_events, "HEARTBEAT", 0.1)
    listener = Listener(service, job)
    wait_until(lambda: listener.heartbeats >= 2, 10)
    assert listener.seen == ["queued"]
    service.stop_waiting()
    wait_until(lambda: listener.ended, 5)


def test_where_no_more_may_listen_a_stream_has_what_is_there(
    tmp_path: Path, database: Path, controller: Controller, running: str
) -> None:
    controller.requeue(running)
    controller.start(running)
    for service in web(tmp_path, database, web_connections=3):  # one of which may wait
        Listener(service, running).sees("queued", STARTED, "requeued", AGAIN)
        second = Listener(service, running)
        wait_until(lambda second=second: second.ended)
        assert second.seen == ["queued", STARTED, "requeued", AGAIN]
        controller.succeed(running)
        third = Listener(service, running, second.last_id)
        wait_until(lambda third=third: third.ended)
        assert third.seen == ["succeeded"]


def end_with_log(controller: Controller, job_id: str, lines: int) -> None:
    """As the pool ends a run: what is left of its log is recorded in the same transaction, behind the end."""
    store = controller.store
    with store.transaction():
        job = store.fail(job_id, JobError("x", "y"), time.time(), run=controller._run(job_id))
        store.log(LogWrite([LogRow(job_id, "log", time.time(), {"text": f"line {n}"}) for n in range(lines)]))
    controller.moved(job)


@pytest.mark.parametrize("lines", [2, 450])
def test_the_end_comes_last_whatever_was_recorded_with_it(
    controller: Controller, service: JobService, job: str, lines: int
) -> None:
    controller.start(job)
    listener = Listener(service, job)
    listener.sees("queued", STARTED)
    end_with_log(controller, job, lines)
    listener.join(10)
    expected = ["queued", STARTED, *(("log", f"line {n}") for n in range(lines)), "failed"]
    assert listener.ended and listener.seen == expected
    assert service.events(ANONYMOUS_CALLER, job, listener.last_id) is None, "all of it was seen"
    replayed = Listener(service, job)
    replayed.join(10)
    assert replayed.ended and replayed.seen == expected
    resumed = Listener(service, job, listener.events[-2].id)
    resumed.join(10)
    assert resumed.ended and resumed.seen[-1] == "failed", "nobody who breaks off before the end loses it"
