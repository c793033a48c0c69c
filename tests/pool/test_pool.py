"""The pool over a real database and the store's thread, while the store refuses now and then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loops import Loop
from runs import run_of
from structlog.testing import capture_logs

from para_attn_server.controller.housekeeping import finish_outputs
from para_attn_server.core.errors import JobError, StoreUnavailable
from para_attn_server.core.job import Job, JobStatus, NewJob, Output, Result
from para_attn_server.core.output import prepare, seal, temporary_path
from para_attn_server.core.wire.control import CancelOrder, CancelReply
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.look import EXPIRED_AT_ONCE
from para_attn_server.pool.model_info import Identity, ModelInfoWriter
from para_attn_server.pool.pool import Pool
from para_attn_server.pool.run import CANCEL, Lost
from para_attn_server.stores.sql import SqlStore
from para_attn_server.stores.sqlite import begin_write


@pytest.fixture
def loop(store: SqlStore) -> Iterator[Loop]:
    with closing(Loop(store)) as made:
        yield made


@pytest.fixture
def news() -> list[Any]:
    """What the web workers get."""
    return []


@pytest.fixture
def pool(loop: Loop, news: list[Any], tmp_path: Path, store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """What a test starts, the pool has started."""
    model = ModelInfoWriter([Identity("m", "m", "1")])
    pool = Pool(loop.store, model, folder(tmp_path), 2, news.append, lambda _: None, lambda _: None)
    start = store.start

    def started(job_id: str, group: int, now: float, controller: str | None = None) -> Job:
        pool._running[job_id] = start(job_id, group, now, controller)
        return pool._running[job_id]

    monkeypatch.setattr(store, "start", started)
    return pool


def folder(tmp_path: Path) -> OutputFolder:
    return OutputFolder(tmp_path, allow_any=False, state_dir=tmp_path / "state")


def running(store: SqlStore, folder: Path, group: int) -> tuple[str, Output]:
    """A job that runs on that group, and the output that its rank zero has just sealed."""
    path = folder / f"{group}.png"
    job = store.insert(NewJob({}, str(path)), 10, 1.0 + group)
    store.start(job.id, group, 10.0 + group)
    prepare(path, job.id)
    temporary_path(path, job.id).write_bytes(b"x")
    return job.id, seal(path, job.id, lambda: None)


def status(store: SqlStore, job_id: str) -> JobStatus:
    job = store.get(job_id)
    assert job is not None
    return job.status


def refuse(*_: Any, **__: Any) -> None:
    raise StoreUnavailable("the disk is full (/secret)", "the disk is full")


class StandInGroup:
    """Of a group what the pool asks of it."""

    def __init__(self, index: int = 0, run: str | None = None) -> None:
        self.index, self.num_ranks, self.model, self.state = index, 1, "m", GroupState.READY
        self.run: Any = None
        self.writings = SimpleNamespace(live=[])
        self.assigned: list[tuple[str, dict[str, Any]]] = []
        self.stops: list[Any] = []
        if run is not None:
            self.begin(run)

    def begin(self, job_id: str) -> None:
        self.state, self.run = GroupState.BUSY, SimpleNamespace(job_id=job_id, started=float(self.index))

    def assign(self, job: Job, arguments: dict[str, Any], *_: object) -> None:
        self.assigned.append((job.id, arguments))
        self.begin(job.id)

    def stop_run(self, order: Any) -> None:
        self.stops.append(order)

    def leave(self) -> None:
        self.state, self.run = GroupState.READY, None

    def tick(self, now: float) -> None:
        pass

    def view(self) -> Any:
        return self.index


def have(pool: Pool, *groups: StandInGroup) -> None:
    pool._dispatcher.groups = groups  # type: ignore[assignment]


def cancel(pool: Pool, job_id: str | None, loop: Loop | None = None) -> CancelReply:
    """The reply to a cancel order: at once, or once the store has spoken."""
    replies: list[CancelReply] = []
    pool.cancel(CancelOrder(7, job_id), replies.append)
    if loop is not None:
        loop.settle()
    (reply,) = replies
    assert reply.request == 7
    return reply


def end_unwritten(
    pool: Pool, loop: Loop, store: SqlStore, job_id: str, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job ends while the store refuses."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "succeed", refuse)
        pool.run_ended(job_id, Result((output,)), (5, 5))
        loop.settle()
    assert pool.busy, "it is not over before it is written"


def test_a_cancel_does_not_hit_a_job_whose_end_is_still_to_be_written(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (done, output), (other, _) = running(store, tmp_path, 0), running(store, tmp_path, 1)
    end_unwritten(pool, loop, store, done, output, monkeypatch)
    group = StandInGroup(1, other)
    have(pool, group)
    assert cancel(pool, None).job_id == other and group.stops == [CANCEL]
    loop.settle()
    job = store.get(done)
    assert job is not None and (job.status, job.output) == (JobStatus.SUCCEEDED, output)
    assert cancel(pool, done, loop) == CancelReply(7, None)


def test_a_running_job_is_left_though_that_cannot_be_written(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (older, _), (newer, _) = running(store, tmp_path, 0), running(store, tmp_path, 1)
    groups, real, disk = [StandInGroup(0, older), StandInGroup(1, newer)], store.request_cancel, SimpleNamespace(full=1)
    have(pool, *groups)
    monkeypatch.setattr(store, "request_cancel", lambda *order, run: refuse() if disk.full else real(*order, run=run))
    assert cancel(pool, None).unwritten is None, "that the store refuses is not known yet"
    loop.settle()
    for order in (older, newer, newer):
        reply = cancel(pool, order)
        assert (reply.job_id, reply.error, reply.unwritten) == (order, None, "the disk is full")
    assert [len(group.stops) for group in groups] == [2, 2]
    have(pool)
    pool.run_ended(older, None, (1, 5))
    pool.run_lost(newer, Lost(JobError("rank_lost", "x")))
    loop.settle()
    assert store.counts().running == 2
    disk.full = 0
    pool.close()
    loop.settle()
    assert store.counts().canceled == 2
    assert [event.type for event in store.events(newer)].count("cancel_requested") == 1


def test_a_queued_job_that_cannot_be_written_stays_queued_and_that_is_said(
    pool: Pool, loop: Loop, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.insert(NewJob({}, "/a.png"), 10, 1.0)
    pool.submitted(job, None)
    with monkeypatch.context() as patch:
        patch.setattr(store, "cancel", refuse)
        reply = cancel(pool, job.id, loop)
    assert reply == CancelReply(7, None, "the job is not canceled: the disk is full")
    assert status(store, job.id) is JobStatus.QUEUED and pool.queue.waiting(0.0) == [job]
    assert cancel(pool, job.id, loop).job_id == job.id
    assert status(store, job.id) is JobStatus.CANCELED and not pool.queue


def test_a_job_that_is_being_canceled_does_not_start(pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path) -> None:
    job_id, output = running(store, tmp_path, 0)
    group = StandInGroup()
    have(pool, group)
    job = store.insert(NewJob({}, str(tmp_path / "a.png")), 10, 1.0)
    pool._look.look()
    pool.run_ended(job_id, Result((output,)), (5, 5))  # would start what the look finds
    replies: list[CancelReply] = []
    pool.cancel(CancelOrder(1, job.id), replies.append)
    loop.settle()
    assert replies == [CancelReply(1, job.id)] and status(store, job.id) is JobStatus.CANCELED
    assert group.assigned == [] and not pool.queue


def test_what_waits_to_be_written_is_tried_again_at_the_end(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    end_unwritten(pool, loop, store, job_id, output, monkeypatch)
    pool.close()
    assert not pool.settled
    loop.run(lambda: pool.settled)
    assert status(store, job_id) is JobStatus.SUCCEEDED and not pool.busy


def test_the_job_that_follows_is_started_in_the_transaction_that_ends_the_one_before(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    second = store.insert(NewJob({"a": 1}, str(tmp_path / "2.png")), 10, 3.0)
    pool.queue.add(second)
    group = StandInGroup()
    have(pool, group)
    with monkeypatch.context() as patch:
        patch.setattr(store, "start", refuse)
        pool.run_ended(job_id, Result((output,)), (5, 5))
        loop.settle()
    assert (status(store, job_id), status(store, second.id)) == (JobStatus.RUNNING, JobStatus.QUEUED)
    assert outputs_of(tmp_path) == {f".{job_id}.part/0.png": b"x"} and not group.assigned
    begun: list[None] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "para_attn_server.stores.sqlite_handle.begin_write",
            lambda connection: begun.append(begin_write(connection)),
        )
        pool._writes.flush(at_once=True)
        loop.settle()
    assert (status(store, job_id), status(store, second.id)) == (JobStatus.SUCCEEDED, JobStatus.RUNNING)
    assert group.assigned == [(second.id, {"a": 1})] and len(begun) == 1
    assert outputs_of(tmp_path) == {"0.png": b"x"}


def test_a_fault_in_what_is_written_with_an_end_does_not_leave_the_job_running(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    pool.run_logged(job_id, ["a line"], 0)
    with monkeypatch.context() as patch:
        patch.setattr(store, "log", lambda _: 1 / 0)
        pool.run_ended(job_id, Result((output,)), (5, 5))
        loop.settle()
    job = store.get(job_id)
    assert job is not None and job.error is not None and job.error.type == "internal" and not pool.busy


def test_a_start_reads_nothing_and_a_job_whose_hint_was_lost_is_found(
    pool: Pool, loop: Loop, store: SqlStore, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, read, queued = StandInGroup(), list[int](), store.queued
    have(pool, group)
    monkeypatch.setattr(store, "queued", lambda *given, **more: (read.append(1), queued(*given, **more))[1])
    first, second = (store.insert(NewJob({}, str(tmp_path / f"{n}.png")), 10, 1.0) for n in range(2))
    group.state = GroupState.BUSY
    pool.submitted(second, None)
    pool.submitted(first, "r1")
    assert [job.id for job in pool.queue.waiting(0.0)] == [first.id, second.id]

    def next_one() -> str:
        group.leave()
        pool._dispatcher.dispatch()
        loop.settle()
        return group.assigned[-1][0]

    assert [next_one(), next_one()] == [first.id, second.id]
    group.leave()
    pool.run_lost(first.id, Lost(JobError("rank_lost", "killed"), charge=False))
    loop.settle()
    assert [job_id for job_id, _ in group.assigned] == [first.id, second.id, first.id] and not read
    with closing(SqlStore.open(database, durable=False)) as web:
        third = web.insert(NewJob({}, str(tmp_path / "3.png")), 10, 1.0)
        group.leave()
        pool.tick(1e9)
        loop.settle()
        assert (group.assigned[3:], len(read)) == ([(third.id, {})], 1)
        pool.submitted(third, None)  # its hint comes late: it runs already
        assert not pool.queue
        store.cancel(third.id, 2.0, run=run_of(store, third.id))
        pool._running.clear()
        pool.submitted(third, None)  # and later still: it has ended
        fourth = web.insert(NewJob({}, str(tmp_path / "4.png")), 10, 1.0)
        group.leave()
        pool.tick(2e9)
        loop.settle()
    assert group.assigned[4:] == [(fourth.id, {})] and not pool.queue


def test_many_deadlines_that_pass_at_once_are_ended_a_few_at_each_tick(
    pool: Pool, loop: Loop, store: SqlStore, news: list[Any]
) -> None:
    jobs = [store.insert(NewJob({}, "/a.png", deadline=1.0), 1000, 1.0).id for _ in range(2 * EXPIRED_AT_ONCE + 1)]
    pool._look.look()
    loop.settle()
    assert not pool.idle
    for now, left in ((10.0, EXPIRED_AT_ONCE + 1), (10.1, 1), (10.2, 0)):
        pool.tick(now)
        loop.settle()
        assert store.counts().queued == left
    assert pool.idle and not pool.queue
    assert {update.job_id for update in news} == set(jobs) and {update.status for update in news} == {"failed"}
    assert cancel(pool, jobs[0], loop).job_id is None


def test_a_start_finds_what_a_former_controller_has_left(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, news: list[Any]
) -> None:
    (again, _), (canceled, _) = running(store, tmp_path, 0), running(store, tmp_path, 1)
    store.request_cancel(canceled, 20.0, run=run_of(store, canceled))
    queued = store.insert(NewJob({}, "/a.png"), 10, 30.0).id
    group = StandInGroup()
    group.start = lambda: None  # type: ignore[attr-defined]
    pool.start([group])  # type: ignore[list-item]
    loop.settle()
    job = store.get(again)
    assert job is not None and (job.attempts, group.assigned) == (1, [(again, {})]), "not charged, and the first"
    assert status(store, canceled) is JobStatus.CANCELED
    assert [one.id for one in pool.queue.waiting(0.0)] == [queued]


# --- recorded, then renamed ---


def outputs_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_an_output_has_its_name_only_once_its_end_is_on_record(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    end_unwritten(pool, loop, store, job_id, output, monkeypatch)
    assert outputs_of(tmp_path) == {f".{job_id}.part/0.png": b"x"}
    pool.close()
    loop.settle()
    assert outputs_of(tmp_path) == {"0.png": b"x"}
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_an_output_replaces_is_named_in_the_log(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path
) -> None:
    (tmp_path / "0.png").write_bytes(b"a person's")
    job_id, output = running(store, tmp_path, 0)
    with capture_logs() as logs:
        pool.run_ended(job_id, Result((output,)), (5, 5))
        loop.settle()
    (entry,) = [entry for entry in logs if entry["event"] == "an output has replaced a file"]
    assert (entry["path"], entry["job"]) == (output.path, job_id)
    assert outputs_of(tmp_path) == {"0.png": b"x"}


def test_a_job_whose_output_cannot_have_its_place_fails_instead_of_succeeding(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path
) -> None:
    job_id, output = running(store, tmp_path, 0)
    (tmp_path / "0.png").mkdir()
    pool.run_ended(job_id, Result((output,)), (5, 5))
    loop.settle()
    job = store.get(job_id)
    assert job is not None and job.error is not None and job.output is None
    assert (job.error.type, "a directory" in job.error.message) == ("output_unwritable", True)
    assert not list(tmp_path.glob(".*"))


def test_a_rename_that_the_disk_refuses_is_tried_again(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", no_disk)
        pool.run_ended(job_id, Result((output,)), (5, 5))
        loop.settle()
        job = store.get(job_id)
        assert job is not None and job.status is JobStatus.SUCCEEDED
        assert outputs_of(tmp_path) == {f".{job_id}.part/0.png": b"x"}, "from where it is served"
    pool.tick(1e9)
    loop.settle()
    assert outputs_of(tmp_path) == {"0.png": b"x"}


def no_disk(*_: Any) -> None:
    raise OSError(5, "Input/output error")


def test_a_lost_run_leaves_nothing_whatever_it_has_written(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path
) -> None:
    (lost, output), (canceled, _) = running(store, tmp_path, 0), running(store, tmp_path, 1)
    (temporary_path(output.path, lost).parent / "0-1.png").write_bytes(b"x")
    store.request_cancel(canceled, 20.0, run=run_of(store, canceled))
    pool.run_lost(lost, Lost(JobError("rank_lost", "x")))
    pool.run_lost(canceled, Lost(JobError("rank_lost", "x")))
    loop.settle()
    assert not list(tmp_path.rglob("*.png")) and not list(tmp_path.glob(".*"))
    assert store.get(canceled).status is JobStatus.CANCELED  # type: ignore[union-attr]


def test_a_start_finishes_what_is_on_record_and_removes_the_rest(store: SqlStore, tmp_path: Path) -> None:
    root = tmp_path / "out"
    (root / "sub").mkdir(parents=True)
    (done, output), (failed, _), (cut, _) = (running(store, root / sub, n) for n, sub in enumerate(("sub", "", "")))
    store.succeed(done, Result((output,)), 100.0, run=run_of(store, done))
    store.fail(failed, JobError("x", "x"), 100.0, run=run_of(store, failed))
    old, young = root / f".{'a' * 32}.part", root / f".{'b' * 32}.part.png"  # as an earlier version wrote it
    old.mkdir()
    young.touch()
    os.utime(old, (1, 1))
    finish_outputs(store, OutputFolder(root, allow_any=False, state_dir=tmp_path / "state"))
    assert outputs_of(root) == {"sub/0.png": b"x", young.name: b""}, "an unknown young one may be another server's"
    assert not old.exists() and not list((root / "sub").glob(".*"))
    assert store.get(cut).status is JobStatus.RUNNING  # type: ignore[union-attr]


def test_a_start_finishes_what_belongs_into_the_folder_of_a_day_and_does_not_search_those(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = folder(tmp_path)
    new = NewJob({}, "")
    path = outputs.resolve(None, new.id, ".png", 1.0)
    store.insert(replace(new, output_path=str(path)), 10, 1.0)
    store.start(new.id, 0, 2.0)
    prepare(path, new.id)
    temporary_path(path, new.id).write_bytes(b"x")
    store.succeed(new.id, Result((seal(path, new.id, lambda: None),)), 3.0, run=run_of(store, new.id))
    shutil.rmtree(tmp_path / "1970")
    (tmp_path / "2026").mkdir()
    searched: list[object] = []
    scandir = os.scandir
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: searched.append(Path(path)) or scandir(path))
        finish_outputs(store, outputs)
    assert outputs_of(tmp_path) == {f"1970/01/01/{new.id}.png": b"x"}
    assert tmp_path in searched and tmp_path / "2026" not in searched


def test_a_start_finds_outputs_outside_the_root_too(store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    job_id, output = running(store, tmp_path / "elsewhere", 0)
    store.succeed(job_id, Result((output,)), 100.0, run=run_of(store, job_id))
    finish_outputs(store, OutputFolder(tmp_path / "root", allow_any=True, state_dir=tmp_path / "state"))
    assert outputs_of(tmp_path) == {"elsewhere/0.png": b"x"}


def test_the_pool_is_idle_while_every_group_is_ready_and_nothing_waits(
    pool: Pool, loop: Loop, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(pool, StandInGroup(0), group := StandInGroup(1))
    assert pool.idle
    for state in set(GroupState) - {GroupState.READY}:
        group.state = state
        assert not pool.idle
    group.state = GroupState.READY
    job_id, output = running(store, tmp_path, 0)
    pool.run_logged(job_id, ["line"], 0)
    assert not pool.idle, "a log waits to be written"
    pool.tick(1.0)
    loop.settle()
    assert pool.idle
    end_unwritten(pool, loop, store, job_id, output, monkeypatch)
    assert not pool.idle
