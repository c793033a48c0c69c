"""What a caller may see: their own jobs, or everybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from para_attn_server.core.errors import JobActive, JobNotFound, NothingToCancel
from para_attn_server.core.job import Job, NewJob, Output, Result
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.control import CancelReply
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.service.caller import ANONYMOUS_CALLER, Caller, Scope
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.service import JobService
from para_attn_server.stores.base import JobFilter
from para_attn_server.stores.memory import MemoryStore

OUTPUT = Output("/out/a.png", "image/png", 1, "ab" * 32)
ANN, BEN = Caller("ann"), Caller("ben")
ADMIN = Caller("root", frozenset({Scope.EVERY_JOB}))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def control() -> Any:
    made = create_autospec(ControlClient, instance=True, connected=True, closing=False, alive=True)
    made.pool.return_value = made.live.return_value = made.place.return_value = None
    made.cancel.return_value = CancelReply(1, None)
    made.queue.running = {}
    return made


@pytest.fixture
def service(store: MemoryStore, control: Any, tmp_path: Path) -> JobService:
    outputs: Any = None
    return JobService(store, control, outputs, Settings(model="m", state_dir=tmp_path))


def add(store: MemoryStore, owner: str, now: float = 1.0) -> Job:
    return store.insert(NewJob({"a": 1}, "/out/a.png", owner=owner), 1000, now)


def test_the_jobs_of_others_are_not_there(store: MemoryStore, service: JobService) -> None:
    job = add(store, "ann")
    for caller in (ANN, ADMIN, ANONYMOUS_CALLER):
        assert service.view(caller, job.id).job.id == job.id
        assert service.job(caller, job.id).arguments == {"a": 1}
    asked = (service.view, service.job, service.log, service.delete, service.cancel)
    for ask in (*asked, lambda caller, job_id: service.wait(caller, job_id, 0.01)):
        with pytest.raises(JobNotFound, match=f"there is no job {job.id}"):
            ask(BEN, job.id)


def test_a_list_holds_what_the_caller_may_see(store: MemoryStore, service: JobService) -> None:
    hers, his = add(store, "ann", 1.0), add(store, "ben", 2.0)

    def seen(caller: Caller, wanted: JobFilter = JobFilter()) -> list[str]:  # noqa: B008 - frozen
        return [view.job.id for view in service.jobs(caller, wanted, 9).jobs]

    assert seen(ANN) == [hers.id] and seen(BEN) == [his.id] and seen(ADMIN) == [his.id, hers.id]
    assert seen(ADMIN, JobFilter(owner="ann")) == seen(ANN, JobFilter(owner="ann")) == [hers.id]
    assert seen(BEN, JobFilter(owner="ann")) == []


def test_a_page_says_where_the_next_one_begins(store: MemoryStore, service: JobService) -> None:
    jobs = [add(store, "ann", float(now)) for now in range(4)]
    first = service.jobs(ANN, JobFilter(), 2)
    last = service.jobs(ANN, JobFilter(), 2, first.next)
    assert [view.job.id for view in [*first.jobs, *last.jobs]] == [job.id for job in reversed(jobs)]
    assert first.next == (2.0, jobs[2].seq) and last.next is None


def test_without_an_id_a_caller_cancels_the_oldest_job_of_their_own(
    store: MemoryStore, service: JobService, control: Any
) -> None:
    for owner, now in (("ben", 1.0), ("ann", 2.0), ("ann", 3.0)):
        store.start(add(store, owner).id, 0, now)
    for caller in (ANN, ADMIN):
        with pytest.raises(NothingToCancel):
            service.cancel(caller)
    own = next(job.id for job in store.running() if job.owner == "ann")
    assert [call.args[0] for call in control.cancel.call_args_list] == [own, None]
    with pytest.raises(NothingToCancel):
        service.cancel(Caller("cy"))
    assert control.cancel.call_count == 2


def test_a_job_stays_where_its_file_cannot_be_removed(store: MemoryStore, control: Any, tmp_path: Path) -> None:
    outputs: Any = create_autospec(OutputFolder, instance=True)
    outputs.remove.side_effect = PermissionError("not yours")
    service = JobService(store, control, outputs, Settings(model="m", state_dir=tmp_path))
    job = store.start(add(store, "ann").id, 0, 2.0)
    done = store.succeed(job.id, Result((OUTPUT,)), 3.0, run=job.run_id)
    with pytest.raises(PermissionError):
        service.delete(ANN, job.id)
    assert store.get(job.id) == done
    outputs.remove.side_effect = None
    service.delete(ANN, job.id)
    outputs.remove.assert_called_with(job.id, OUTPUT, 3.0)
    assert store.get(job.id) is None


def test_only_a_job_that_has_ended_is_deleted(store: MemoryStore, service: JobService) -> None:
    job = add(store, "ann")
    with pytest.raises(JobActive, match="is queued; cancel it first"):
        service.delete(ANN, job.id)
    store.cancel(job.id, 2.0)
    service.delete(ANN, job.id)
    with pytest.raises(JobNotFound):
        service.view(ANN, job.id)
