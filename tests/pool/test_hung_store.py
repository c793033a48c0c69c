"""A store that hangs or refuses, at each moment of a job: nothing waits for it that need not, and nothing is lost.

The pool, its group and the store's thread are real; a test plays the ranks, and lets the store hang.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import Loop

from para_attn_server.core.clock import RunningClock
from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import Job, JobStatus, NewJob
from para_attn_server.core.output import prepare, seal, temporary_path
from para_attn_server.core.wire.control import CancelOrder, CancelReply
from para_attn_server.core.wire.launch import GroupSpec, ModelSpec
from para_attn_server.core.wire.ranks import Canceled, Finished, Ping, Pong, Ready, Run, Started, Step
from para_attn_server.core.wire.step_board import Progress
from para_attn_server.executors.base import ExitInfo
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.group import Group
from para_attn_server.pool.model_info import Identity, ModelInfoWriter
from para_attn_server.pool.monitor import Timeouts
from para_attn_server.pool.pool import Pool
from para_attn_server.pool.ranks import NOTHING_DONE
from para_attn_server.stores.memory import MemoryStore

RANKS = 2
KILLED = ExitInfo("was killed by SIGKILL", signal=9)


class HangingStore:
    """A store in memory. mode: whether it works, hangs until it works again, or refuses."""

    def __init__(self) -> None:
        self.real = MemoryStore()
        self.works, self.at_work = threading.Event(), threading.Event()
        self.works.set()
        self.refuses = False

    def stop(self, refuses: bool) -> None:
        self.at_work.clear()
        self.refuses = refuses
        if not refuses:
            self.works.clear()

    def go_on(self) -> None:
        self.refuses = False
        self.works.set()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            assert threading.current_thread().name == "store", "no call of the store on the loop"
            if self.refuses:
                self.at_work.set()
                raise StoreUnavailable("locked")
            if not self.works.is_set():
                self.at_work.set()
                assert self.works.wait(30)
            return getattr(self.real, name)(*args, **options)

        return call


class Handle:
    """A rank that answers pings while it lives."""

    def __init__(self, stage: Stage, rank: int) -> None:
        self.pid, self._stage, self._rank = 100 + rank, stage, rank
        self.sent: list[Any] = []
        self.killed = self.silent = False

    def send(self, message: Any) -> None:
        if not isinstance(message, Ping):
            self.sent.append(message)
        elif not self.silent:
            self._stage.say(self._rank, Pong(self._rank))

    def kill(self) -> None:
        self.killed = True

    def request_stacks(self) -> None: ...

    def stacks(self) -> str:
        return ""

    def stopped(self) -> bool:
        return self.silent


class Stage:
    """A pool of one group; also the group's executor and its step channel."""

    def __init__(self, folder: Path, loop: Loop, store: HangingStore) -> None:
        self.folder, self.loop, self.store = folder, loop, store
        self.now, self.launches, self.generation = 100.0, 0, 0
        self.handles: list[Handle] = []
        outputs = OutputFolder(folder, allow_any=False, state_dir=folder / "state")
        model = ModelInfoWriter([Identity("m", "m", "1")])
        self.pool = Pool(loop.store, model, outputs, 2, lambda _: None, lambda _: None, lambda _: None)
        timeouts = Timeouts(setup=60, step=20, min_step=10, job=None, cancel=5)
        clock = RunningClock(source=lambda: self.now)
        self.group = Group(
            GroupSpec(ModelSpec("m", served_as="m"), 0, RANKS, "info", "console"), self, self.pool, timeouts, clock
        )
        self.pool.start([self.group])
        self.launched()
        loop.settle()

    def launch(self, generation: int, *_: Any) -> None:
        self.launches, self.generation, self.handles = self.launches + 1, generation, []

    def launched(self) -> None:
        """The ranks that are being launched are ready."""
        self.handles = [Handle(self, rank) for rank in range(RANKS)]
        self.group.launched(self.generation, list(self.handles), self)
        for rank in range(RANKS):
            self.say(rank, Ready(rank, "cpu", {} if rank == 0 else None, {}, ".png"))

    def progress(self, rank: int) -> Progress:
        """As the group's step channel: nothing is seen there."""
        return NOTHING_DONE

    def say(self, rank: int, message: Any) -> None:
        self.group.message(self.generation, rank, message)

    def submit(self, name: str) -> Job:
        """As a web worker does."""
        job = self.store.real.another().insert(NewJob({"name": name}, str(self.folder / f"{name}.png")), 10, 1.0)
        self.pool.submitted(job, None)
        return job

    def begin(self) -> None:
        """The ranks do the first step of the job that they were sent."""
        assert self.group.run is not None
        serial = self.group.run.serial
        self.say(0, Started(serial))
        self.say(0, Step(serial, 1, 9))

    def finish(self) -> None:
        """And have come to its end."""
        run = self.group.run
        assert run is not None
        path = Path(next(m for m in self.handles[0].sent[::-1] if isinstance(m, Run)).output_path)
        prepare(path, run.job_id)
        temporary_path(path, run.job_id).write_bytes(b"x")
        output = seal(path, run.job_id, lambda: None)
        for rank in range(RANKS):
            self.say(rank, Finished(run.serial, rank, 9, 0.1, (output,) if rank == 0 else ()))

    def leave(self) -> None:
        """And have left it."""
        assert self.group.run is not None
        for rank in range(RANKS):
            self.say(rank, Canceled(self.group.run.serial, rank, 3))

    def pass_time(self, seconds: float) -> None:
        """Ticks, as the controller makes them."""
        for _ in range(round(seconds)):
            self.now += 1.0
            self.pool.tick(self.now)
            self.reap()

    def reap(self) -> None:
        """What is killed is dead a moment later."""
        generation = self.generation
        for rank, handle in enumerate(list(self.handles)):
            if handle.killed and self.generation == generation:
                self.group.died(generation, rank, KILLED)

    def cancel(self, job: Job) -> list[CancelReply]:
        replies: list[CancelReply] = []
        self.pool.cancel(CancelOrder(1, job.id), replies.append)
        return replies

    def runs(self, job: Job) -> int:
        """How often the present ranks were sent that job."""
        return sum(isinstance(message, Run) and message.job_id == job.id for message in self.handles[0].sent)

    def until_all_is_over(self) -> None:
        """Ranks that come back, and that do what they are sent."""
        for _ in range(100):
            self.pass_time(1)
            self.pool._writes.flush(at_once=True)
            self.loop.settle()
            if not self.handles:
                self.launched()
            elif self.group.run is not None and self.group.run.stop_order is not None:
                self.leave()
            elif self.group.run is not None:
                self.begin()
                self.finish()
            elif not self.pool.busy and self.pool.idle and not self.pool.queue:
                return
            self.loop.settle()
        raise AssertionError("it does not come to an end")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    store = HangingStore()
    with closing(Loop(store)) as loop:  # type: ignore[arg-type]
        yield Stage(tmp_path, loop, store)
        store.go_on()


def hang_while(stage: Stage, phase: str, refuses: bool) -> Job:
    """The store hangs from that moment of a job on, and is at work on it."""
    if phase == "queued":
        stage.store.stop(refuses)
        job = stage.submit("a")  # its start is on the way
    else:
        job = stage.submit("a")
        stage.loop.settle()
        assert stage.runs(job) == 1
        stage.store.stop(refuses)
        stage.begin()
        stage.pool.run_logged(job.id, ["a line"], 0)
        stage.pool.tick(stage.now) if phase == "running" else stage.finish()
    assert stage.store.at_work.wait(10)
    return job


STATES = {
    ("queued", "cancel"): (JobStatus.CANCELED, None),
    ("queued", "killed rank"): (JobStatus.SUCCEEDED, 1),
    ("queued", "hang of a rank"): (JobStatus.SUCCEEDED, 1),
    ("running", "cancel"): (JobStatus.CANCELED, 1),
    ("running", "killed rank"): (JobStatus.SUCCEEDED, 2),
    ("running", "hang of a rank"): (JobStatus.SUCCEEDED, 2),
    ("ending", "cancel"): (JobStatus.SUCCEEDED, 1),
    ("ending", "killed rank"): (JobStatus.SUCCEEDED, 1),
    ("ending", "hang of a rank"): (JobStatus.SUCCEEDED, 1),
}
"""What a job comes to that is in that phase when this happens: its status, and the attempts that are charged to it."""


def happens(stage: Stage, job: Job, phase: str, what: str) -> None:
    """And has its effect at once, while the store still hangs."""
    if what == "cancel" and phase == "queued" and stage.store.refuses:
        replies = stage.cancel(job)
        stage.loop.settle()
        assert [reply.error for reply in replies] == ["the job is not canceled: the queue cannot be written"]
    elif what == "cancel":
        (reply,) = stage.cancel(job)
        assert (reply.job_id, reply.error) == (job.id, None)
        if phase == "running":
            assert [type(message).__name__ for message in stage.handles[0].sent][-1] == "Cancel"
            assert reply.job is not None and reply.job.status is JobStatus.RUNNING
    else:
        if what == "killed rank":
            stage.group.died(stage.generation, 1, KILLED)
            assert stage.handles[0].killed
            stage.reap()
        else:
            stage.handles[1].silent = True
            stage.pass_time(25)
        assert stage.launches == 2, "the group is rebuilt"


@pytest.mark.parametrize("refuses", [False, True], ids=["hangs", "refuses"])
@pytest.mark.parametrize(("phase", "what"), STATES)
def test_a_store_that_hangs_delays_nothing_and_loses_nothing(
    stage: Stage, phase: str, what: str, refuses: bool
) -> None:
    job = hang_while(stage, phase, refuses)
    if refuses:
        stage.loop.settle()
    happens(stage, job, phase, what)
    other = stage.submit("b")
    stage.pass_time(3)
    row = stage.store.real.get(job.id)
    assert row is not None and row.status is (JobStatus.QUEUED if phase == "queued" else JobStatus.RUNNING)
    stage.store.go_on()
    stage.until_all_is_over()
    ended, last = stage.store.real.get(job.id), stage.store.real.get(other.id)
    status, attempts = STATES[phase, what]
    if (phase, what, refuses) == ("queued", "cancel", True):  # which was said, so it stays queued
        status, attempts = JobStatus.SUCCEEDED, 1
    assert ended is not None and ended.status is status
    assert attempts in (None, ended.attempts)
    assert last is not None and (last.status, last.attempts) == (JobStatus.SUCCEEDED, 1)
    assert not stage.pool.busy and stage.pool.idle and not stage.pool.queue
    outputs = {path.name for path in stage.folder.rglob("*.png")}
    assert outputs == ({"b.png"} if status is JobStatus.CANCELED else {"a.png", "b.png"})
    lines = [row.data.get("text") for row in stage.store.real.log_rows(job.id, 0, 9)]
    assert lines == ([] if phase == "queued" else ["a line"])


def test_a_job_that_is_canceled_before_its_start_is_on_record_is_never_sent(stage: Stage) -> None:
    job = hang_while(stage, "queued", refuses=False)
    stage.cancel(job)
    stage.store.go_on()
    stage.loop.settle()
    assert stage.runs(job) == 0 and stage.group.run is None
    assert [event.type for event in stage.store.real.events(job.id)] == ["queued", "started", "canceled"]


def test_a_start_that_the_end_of_the_server_overtakes_is_undone_and_not_charged(stage: Stage) -> None:
    job = hang_while(stage, "queued", refuses=False)
    stage.pool.drain()
    assert stage.pool.busy, "its start is on the way"
    stage.store.go_on()
    stage.loop.settle()
    row = stage.store.real.get(job.id)
    assert row is not None and (row.status, row.attempts) == (JobStatus.QUEUED, 0)
    assert stage.runs(job) == 0 and not stage.pool.busy


def test_the_cancel_of_a_queued_job_is_replied_to_when_it_is_on_record(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stage.submit("first")
    stage.loop.settle()
    second, third = stage.submit("second"), stage.submit("third")
    stage.store.stop(refuses=False)
    stage.pool.run_logged(first.id, ["a line"], 0)
    stage.pool.tick(stage.now)
    assert stage.store.at_work.wait(10)
    replies = stage.cancel(second)
    stage.pass_time(1)
    assert replies == []
    stage.store.go_on()
    stage.loop.settle()
    assert [reply.job_id for reply in replies] == [second.id]
    stage.store.stop(refuses=False)
    assert stage.pool.cancel(CancelOrder(2, None), replies.append) is None and replies[-1].job_id == first.id
    assert stage.store.at_work.wait(10)
    late = stage.cancel(third)
    monkeypatch.setattr("para_attn_server.pool.write_queue.STUCK", 0.0)
    stage.pass_time(1)
    (reply,) = late
    assert reply.error == "the job is not canceled: the queue's database does not respond"
    stage.store.go_on()
    stage.until_all_is_over()
    states = {
        name: stage.store.real.get(job.id).status for name, job in zip("123", (first, second, third), strict=True)
    }  # type: ignore[union-attr]
    assert states == {"1": "canceled", "2": "canceled", "3": "succeeded"}


HAPPENINGS = [
    *("submit", "step", "finish", "leave", "cancel the first", "cancel the last", "kill", "silence", "launched"),
    *("hang", "refuse", "go on", "a while", "come back", "look"),
]


def happen(stage: Stage, what: str, jobs: list[Job], accepted: set[str]) -> None:
    """One of them, where it can."""
    run = stage.group.run
    match what:
        case "submit" if len(jobs) < 9:
            jobs.append(stage.submit(f"j{len(jobs)}"))
        case "step" if run is not None and stage.handles:
            stage.begin()
        case "finish" if run is not None and not run.results and stage.handles:
            stage.begin()
            stage.finish()
        case "leave" if run is not None and run.stop_order is not None and not run.results and stage.handles:
            stage.leave()
        case "cancel the first" | "cancel the last" if jobs:
            job = jobs[0 if what == "cancel the first" else -1]
            note = accepted.add
            order = CancelOrder(1, job.id)
            stage.pool.cancel(order, lambda reply: note(reply.job_id) if reply.job_id is not None else None)
        case "kill" if stage.handles:
            stage.group.died(stage.generation, 1, KILLED)
            stage.reap()
        case "silence" if stage.handles:
            stage.handles[1].silent = True
            stage.pass_time(25)
        case "launched" if not stage.handles:
            stage.launched()
        case "hang" | "refuse":
            stage.store.stop(refuses=what == "refuse")
        case "go on":
            stage.store.go_on()
        case "a while":
            stage.pass_time(3)
        case "look":
            stage.pool._look.look()
        case "come back":
            stage.loop.run_once()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(HAPPENINGS), max_size=25))
def test_whatever_happens_no_job_is_lost_and_none_runs_that_is_not_on_record(happenings: list[str]) -> None:
    store = HangingStore()
    with TemporaryDirectory() as folder, closing(Loop(store)) as loop:  # type: ignore[arg-type]
        stage = Stage(Path(folder), loop, store)
        jobs: list[Job] = []
        accepted: set[str] = set()
        for what in happenings:
            happen(stage, what, jobs, accepted)
            if stage.group.run is not None:
                row = store.real.get(stage.group.run.job_id)
                assert row is not None and row.status is JobStatus.RUNNING
        store.go_on()
        stage.until_all_is_over()
        for job in jobs:
            row = store.real.get(job.id)
            assert row is not None and row.status.terminal
            starts = [event for event in store.real.events(job.id) if event.type == "started"]
            assert job.id in accepted or row.status is not JobStatus.CANCELED
            assert len(starts) >= row.attempts
            assert (Path(job.output_path)).exists() is (row.status is JobStatus.SUCCEEDED)
