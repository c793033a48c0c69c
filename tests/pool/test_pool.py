"""The pool over a real database, while the store refuses now and then."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from para_attn_server.controller.control_server import ControlServer, WebConnection
from para_attn_server.controller.housekeeping import finish_outputs
from para_attn_server.core.errors import JobError, StoreUnavailable
from para_attn_server.core.job import JobStatus, NewJob, Output
from para_attn_server.core.output import prepare, seal, temporary_path
from para_attn_server.core.wire.control import CancelOrder, CancelReply, Follow, JobUpdate, LineBuffer, PoolView, encode
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.model_info import ModelInfoWriter
from para_attn_server.pool.pool import EXPIRED_AT_ONCE, Pool
from para_attn_server.pool.run import Lost
from para_attn_server.stores.sql import SqlStore
from para_attn_server.stores.sqlite import begin_write


@pytest.fixture
def pool(store: SqlStore) -> Pool:
    return Pool(store, ModelInfoWriter(store, "m", "1"), 2, lambda _: None, lambda _: None, lambda _: None)


def running(store: SqlStore, folder: Path, group: int) -> tuple[str, Output]:
    """A job that runs on that group, and the output that its rank zero has just sealed."""
    path = folder / f"{group}.png"
    job = store.insert(NewJob({}, str(path)), 10, 1.0 + group)
    store.start(job.id, group, 10.0 + group)
    prepare(path, job.id)
    temporary_path(path, job.id).write_bytes(b"x")
    return job.id, seal(path, job.id, lambda: None)


def refuse(*_: Any, **__: Any) -> None:
    raise StoreUnavailable("the disk is full (/secret)", "the disk is full")


def work_on(pool: Pool, *job_ids: str) -> list[str]:
    """Give the pool a group for each of these jobs, started one after the other; those that a group has been asked to
    leave."""
    canceled: list[str] = []
    groups: list[Any] = []
    for started, job_id in enumerate(job_ids):
        run = SimpleNamespace(job_id=job_id, started=started, cancel_deadline=None)

        def cancel(_: Any, run: Any = run) -> None:
            if run.cancel_deadline is None:
                run.cancel_deadline = 1.0
                canceled.append(run.job_id)

        groups.append(SimpleNamespace(run=run, stop_run=cancel, state="busy"))
    pool._groups = groups
    return canceled


def end_unwritten(pool: Pool, store: SqlStore, job_id: str, output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job ends while the store refuses."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "succeed", refuse)
        pool.run_ended(job_id, output, (5, 5))
    assert pool.busy, "it is not over before it is written"


def test_a_cancel_does_not_hit_a_job_whose_end_is_still_to_be_written(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (done, output), (other, _) = running(store, tmp_path, 0), running(store, tmp_path, 1)
    end_unwritten(pool, store, done, output, monkeypatch)
    work_on(pool, other)
    assert pool.cancel(None) == other
    job = store.get(done)
    assert job is not None and (job.status, job.output) == (JobStatus.SUCCEEDED, output)
    assert pool.cancel(done) is None


def test_a_job_whose_end_cannot_be_written_is_not_canceled(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    end_unwritten(pool, store, job_id, output, monkeypatch)
    monkeypatch.setattr(store, "succeed", refuse)
    with pytest.raises(StoreUnavailable) as refused:
        pool.cancel(job_id)
    assert refused.value.public == "the job is not canceled: the disk is full"
    assert pool.cancel(None) is None, "none runs"


def test_a_running_job_is_left_though_that_cannot_be_written(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (older, _), (newer, _) = running(store, tmp_path, 0), running(store, tmp_path, 1)
    canceled, real, disk = work_on(pool, older, newer), store.request_cancel, SimpleNamespace(full=True)
    monkeypatch.setattr(store, "request_cancel", lambda *order: refuse() if disk.full else real(*order))
    for order in (None, older, newer):
        with pytest.raises(StoreUnavailable) as refused:
            pool.cancel(order)
        assert str(refused.value.public).endswith("its end cannot be written yet: the disk is full")
    assert canceled == [older, newer]
    pool._groups = ()
    pool.run_ended(older, None, (1, 5))
    pool.run_lost(newer, Lost(JobError("rank_lost", "x")))
    assert store.counts().running == 2
    disk.full = False
    pool.close()
    assert store.counts().canceled == 2


def test_a_queued_job_that_cannot_be_written_stays_queued_and_that_is_said(
    pool: Pool, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = store.insert(NewJob({}, "/a.png"), 10, 1.0).id
    with monkeypatch.context() as patch:
        patch.setattr(store, "cancel", refuse)
        with pytest.raises(StoreUnavailable) as refused:
            pool.cancel(job_id)
    assert refused.value.public == "the job is not canceled: the disk is full"
    assert store.get(job_id).status is JobStatus.QUEUED  # type: ignore[union-attr]
    assert pool.cancel(job_id) == job_id


def test_what_waits_to_be_written_is_tried_again_at_the_end(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    end_unwritten(pool, store, job_id, output, monkeypatch)
    pool.close()
    job = store.get(job_id)
    assert job is not None and job.status is JobStatus.SUCCEEDED and not pool.busy


def test_an_order_that_is_refused_does_not_take_the_next_ones_with_it() -> None:
    def cancel(job_id: str | None) -> str | None:
        if job_id == "a":
            raise StoreUnavailable("/secret is full", "full")
        return job_id

    answers: list[bytes] = []
    connection = WebConnection(ControlServer(lambda: None, cancel, lambda: None))
    connection.write = answers.append
    connection.data_received(b"".join(encode(CancelOrder(number, name)) for number, name in enumerate("abc")))
    assert list(LineBuffer().feed(b"".join(answers))) == [
        CancelReply(0, None, "full"),
        CancelReply(1, "b"),
        CancelReply(2, "c"),
    ]


def test_steps_go_to_those_who_follow_the_job_and_all_else_to_everybody() -> None:
    server = ControlServer(lambda *_: None, lambda _: None, lambda: PoolView(started_at=1.0))
    told: dict[str, list[Any]] = {}
    for name in ("follows", "does not", "is late"):
        connection = WebConnection(server)
        lines: list[bytes] = []
        connection.write = lines.append
        server.opened(connection)
        lines.clear()
        told[name] = [connection, lines]

    def run(status: str, step: int) -> None:
        server.publish(JobUpdate("a", status, step, 9))

    def follow(name: str) -> None:
        told[name][0].data_received(encode(Follow("a")))

    follow("is late")  # it does not run yet
    for attempt in range(2):
        run("running", 0)
        follow("follows")
        run("running", 1 + attempt)
        run("queued", 0)
    run("running", 0)
    run("running", 5)
    follow("is late")
    run("running", 6)
    run("succeeded", 9)

    def heard(name: str) -> list[tuple[str, int]]:
        return [(update.status, update.step) for update in LineBuffer().feed(b"".join(told[name][1]))]

    everybody = [("running", 0), ("queued", 0)] * 2 + [("running", 0), ("succeeded", 9)]
    assert heard("does not") == everybody
    first, second = [("running", 0), ("running", 1)], [("running", 0), ("running", 2)]
    again = ("running", 0)  # the latest step, in answer to Follow
    assert heard("follows") == [
        again,
        *first,
        ("queued", 0),
        again,
        *second,
        ("queued", 0),
        ("running", 0),
        ("succeeded", 9),
    ]
    assert heard("is late") == [*everybody[:5], ("running", 5), ("running", 6), ("succeeded", 9)]


def test_the_job_that_follows_is_started_in_the_transaction_that_ends_the_one_before(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    pool.queue.add(queued := store.insert(NewJob({"a": 1}, str(tmp_path / "2.png")), 10, 3.0))
    second = queued.id
    assigned: list[Any] = []
    group = SimpleNamespace(index=0, num_ranks=1, run=None, state=GroupState.READY)
    group.assign = lambda job, kwargs, _: (assigned.append((job.id, kwargs)), setattr(group, "state", "busy"))
    pool._groups = [group]
    with monkeypatch.context() as patch:
        patch.setattr(store, "start", refuse)
        pool.run_ended(job_id, output, (5, 5))
    ended, queued = store.get(job_id), store.get(second)  # type: ignore[assignment]
    assert ended is not None and queued is not None
    assert (ended.status, queued.status, assigned) == (JobStatus.RUNNING, JobStatus.QUEUED, [])
    assert outputs_of(tmp_path) == {f".{job_id}.part/0.png": b"x"}
    begun: list[None] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "para_attn_server.stores.sql_handle.begin_write", lambda connection: begun.append(begin_write(connection))
        )
        pool._writes.flush(at_once=True)
    ended, queued = store.get(job_id), store.get(second)
    assert ended is not None and queued is not None
    assert (ended.status, queued.status) == (JobStatus.SUCCEEDED, JobStatus.RUNNING)
    assert assigned == [(second, {"a": 1})] and len(begun) == 1
    assert outputs_of(tmp_path) == {"0.png": b"x"}


def test_a_start_reads_nothing_and_a_job_whose_hint_was_lost_is_found(
    pool: Pool, store: SqlStore, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assigned: list[str] = []
    group = SimpleNamespace(index=0, num_ranks=1, run=None, state=GroupState.READY, tick=lambda _: None)
    group.assign = lambda job, *_: assigned.append(job.id)
    pool._groups = [group]
    read: list[int] = []
    queued = store.queued
    monkeypatch.setattr(store, "queued", lambda *given, **more: (read.append(1), queued(*given, **more))[1])
    first, second = (store.insert(NewJob({}, str(tmp_path / f"{n}.png")), 10, 1.0) for n in range(2))
    group.state = GroupState.BUSY
    pool.submitted(second, None)
    pool.submitted(first, "r1")
    assert assigned == [] and [job.id for job in pool.queue.waiting(0.0)] == [first.id, second.id]
    group.state = GroupState.READY
    pool.dispatch()
    pool.dispatch()
    assert assigned == [first.id, second.id]
    pool.run_lost(first.id, Lost(JobError("rank_lost", "killed"), charge=False))
    assert assigned == [first.id, second.id, first.id]
    assert not read
    with closing(SqlStore.open(database, durable=False)) as web:
        third = web.insert(NewJob({}, str(tmp_path / "3.png")), 10, 1.0)
        pool.tick(1e9)
        assert (assigned[3:], len(read)) == ([third.id], 1)
        pool.submitted(third, None)  # its hint comes late: it runs already
        fourth = web.insert(NewJob({}, str(tmp_path / "4.png")), 10, 1.0)
        pool.tick(2e9)
    assert assigned[4:] == [fourth.id] and not pool.queue


def test_many_deadlines_that_pass_at_once_are_ended_a_few_at_each_tick(store: SqlStore) -> None:
    told: list[Any] = []
    pool = Pool(store, ModelInfoWriter(store, "m", "1"), 2, told.append, lambda _: None, lambda _: None)
    jobs = [store.insert(NewJob({}, "/a.png", deadline=1.0), 1000, 1.0) for _ in range(2 * EXPIRED_AT_ONCE + 1)]
    for job in jobs:
        pool.queue.add(job)
    for now, left in ((10.0, EXPIRED_AT_ONCE + 1), (10.1, 1), (10.2, 0)):
        pool.tick(now)
        assert store.counts().queued == left
    assert {update.job_id for update in told} == {job.id for job in jobs}
    assert {update.status for update in told} == {"failed"}
    assert pool.cancel(jobs[0].id) is None


# --- recorded, then renamed ---


def outputs_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def test_an_output_has_its_name_only_once_its_end_is_on_record(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    end_unwritten(pool, store, job_id, output, monkeypatch)
    assert outputs_of(tmp_path) == {f".{job_id}.part/0.png": b"x"}
    pool.close()
    assert outputs_of(tmp_path) == {"0.png": b"x"}
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_an_output_replaces_is_named_in_the_log(pool: Pool, store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"a person's")
    job_id, output = running(store, tmp_path, 0)
    with capture_logs() as logs:
        pool.run_ended(job_id, output, (5, 5))
    (entry,) = [entry for entry in logs if entry["event"] == "an output has replaced a file"]
    assert (entry["path"], entry["job"]) == (output.path, job_id)
    assert outputs_of(tmp_path) == {"0.png": b"x"}


def test_a_job_whose_output_cannot_have_its_place_fails_instead_of_succeeding(
    pool: Pool, store: SqlStore, tmp_path: Path
) -> None:
    job_id, output = running(store, tmp_path, 0)
    (tmp_path / "0.png").mkdir()
    pool.run_ended(job_id, output, (5, 5))
    job = store.get(job_id)
    assert job is not None and job.error is not None and job.output is None
    assert (job.error.type, "a directory" in job.error.message) == ("output_unwritable", True)
    assert not list(tmp_path.glob(".*"))


def test_a_rename_that_the_disk_refuses_is_tried_again(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", no_disk)
        pool.run_ended(job_id, output, (5, 5))
        job = store.get(job_id)
        assert job is not None and job.status is JobStatus.SUCCEEDED
        assert outputs_of(tmp_path) == {f".{job_id}.part/0.png": b"x"}, "from where it is served"
    pool.tick(1e9)
    assert outputs_of(tmp_path) == {"0.png": b"x"}


def no_disk(*_: Any) -> None:
    raise OSError(5, "Input/output error")


def test_a_lost_run_leaves_nothing_whatever_it_has_written(pool: Pool, store: SqlStore, tmp_path: Path) -> None:
    (lost, output), (canceled, _) = running(store, tmp_path, 0), running(store, tmp_path, 1)
    (temporary_path(output.path, lost).parent / "0-1.png").write_bytes(b"x")
    store.request_cancel(canceled, 20.0)
    pool.run_lost(lost, Lost(JobError("rank_lost", "x")))
    pool.run_lost(canceled, Lost(JobError("rank_lost", "x")))
    assert not list(tmp_path.rglob("*.png")) and not list(tmp_path.glob(".*"))
    assert store.get(canceled).status is JobStatus.CANCELED  # type: ignore[union-attr]


def test_a_start_finishes_what_is_on_record_and_removes_the_rest(store: SqlStore, tmp_path: Path) -> None:
    root = tmp_path / "out"
    (root / "sub").mkdir(parents=True)
    (done, output), (failed, _), (cut, _) = (running(store, root / sub, n) for n, sub in enumerate(("sub", "", "")))
    store.succeed(done, output, 100.0)
    store.fail(failed, JobError("x", "x"), 100.0)
    old, young = root / f".{'a' * 32}.part", root / f".{'b' * 32}.part.png"  # as an earlier version wrote it
    old.mkdir()
    young.touch()
    os.utime(old, (1, 1))
    finish_outputs(store, OutputFolder(root, allow_any=False, state_dir=tmp_path / "state"))
    assert outputs_of(root) == {"sub/0.png": b"x", young.name: b""}, "an unknown young one may be another server's"
    assert not old.exists() and not list((root / "sub").glob(".*"))
    assert store.get(cut).status is JobStatus.RUNNING  # type: ignore[union-attr]


def test_a_start_finds_outputs_outside_the_root_too(store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    job_id, output = running(store, tmp_path / "elsewhere", 0)
    store.succeed(job_id, output, 100.0)
    finish_outputs(store, OutputFolder(tmp_path / "root", allow_any=True, state_dir=tmp_path / "state"))
    assert outputs_of(tmp_path) == {"elsewhere/0.png": b"x"}


def test_the_pool_is_idle_while_every_group_is_ready_and_nothing_waits(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [GroupState.READY, GroupState.READY]
    pool._groups = [SimpleNamespace(index=0, num_ranks=1, state=state, run=None) for state in states]  # type: ignore[misc]
    assert pool.idle
    for state in set(GroupState) - {GroupState.READY}:
        pool._groups[1].state = state
        assert not pool.idle
    pool._groups[1].state = GroupState.READY
    pool.run_logged("a", ["line"], 0)
    assert not pool.idle, "a log waits to be written"
    pool._logs.flush()
    assert pool.idle
    end_unwritten(pool, store, *running(store, tmp_path, 0), monkeypatch)
    assert not pool.idle
