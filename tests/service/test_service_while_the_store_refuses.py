"""What the service makes of live news while the store cannot be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from para_attn_server.core.errors import NothingToCancel, StoreUnavailable
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.control import CancelReply, JobUpdate, PoolView, QueueView
from para_attn_server.service.caller import ANONYMOUS_CALLER
from para_attn_server.service.news import JobNews
from para_attn_server.service.service import JobService


class Store:
    """One job's row, until it refuses."""

    def __init__(self) -> None:
        self.row = Job("a", 1, JobStatus.QUEUED, 7, "/out/a.png", 1.0)
        self.refuses = False
        self.back_at: float | None = None

    def get(self, _: object) -> Any:
        if self.refuses and (self.back_at is None or time.monotonic() < self.back_at):
            raise StoreUnavailable("/secret/jobs.sqlite3 is damaged", "damaged")
        return self.row

    def output_totals(self) -> Any:
        return self.get("")

    def usable(self) -> None:
        self.get("")

    def document(self, _: object) -> None:
        self.get("")


class Control:
    """A controller that has said this much."""

    def __init__(self) -> None:
        self.news: JobNews | None = None
        self.view = PoolView(started_at=1.0, mean_seconds=1.0)
        self.queue = QueueView()
        self.connected = self.alive = True
        self.ordered: list[str | None] = []
        self.reply = CancelReply(1, None)

    def says(self, status: str, step: int = 0) -> None:
        self.news = JobNews(JobUpdate("a", status, step, 9), life=step + len(status))

    def live(self, _: str) -> JobNews | None:
        return self.news

    def pool(self, _: float = 0.0) -> PoolView:
        return self.view

    def place(self, _: str) -> None:
        pass

    def follow(self, _: str) -> None:
        pass

    @contextmanager
    def watch(self, _: str) -> Iterator[Event]:
        yield Event()

    def cancel(self, job_id: str | None, timeout: float) -> CancelReply:
        self.ordered.append(job_id)
        return self.reply


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def service(store: Store, control: Control) -> JobService:
    made: Any = JobService
    served: JobService = made(store, control, None, Settings(model="m"))
    assert served.view(ANONYMOUS_CALLER, "a").job.status is JobStatus.QUEUED
    store.refuses = True
    return served


def test_a_job_that_was_seen_is_moved_on_by_live_news(service: JobService, control: Control) -> None:
    view = service.view(ANONYMOUS_CALLER, "a")
    assert (view.job.status, view.job.seed, view.queue_position) == (JobStatus.QUEUED, 7, None)
    control.says("running", 3)
    began = time.monotonic()
    view = service.wait(ANONYMOUS_CALLER, "a", 0.2)
    assert (view.job.status, view.job.step, view.job.total_steps) == (JobStatus.RUNNING, 3, 9)
    assert time.monotonic() - began >= 0.2, "it is waited for as long as the client wants"


@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled"])
def test_how_a_job_ended_is_in_the_store_alone(service: JobService, control: Control, status: str) -> None:
    control.says(status, 9)
    with pytest.raises(StoreUnavailable):
        service.wait(ANONYMOUS_CALLER, "a", 0.1)


def test_a_wait_outlasts_files_that_are_put_back(service: JobService, store: Store, control: Control) -> None:
    control.says("failed", 9)
    store.row = Job("a", 1, JobStatus.FAILED, 7, "/out/a.png", 1.0)
    store.back_at = time.monotonic() + 0.1
    assert service.wait(ANONYMOUS_CALLER, "a", 5).job.status is JobStatus.FAILED


def test_an_end_that_was_seen_stays(service: JobService, store: Store, control: Control) -> None:
    store.refuses, store.row = False, Job("a", 1, JobStatus.FAILED, 7, "/out/a.png", 1.0)
    service.view(ANONYMOUS_CALLER, "a")
    store.refuses, control.alive = True, False
    assert service.view(ANONYMOUS_CALLER, "a").job.status is JobStatus.FAILED


def test_without_a_word_of_the_controller_or_a_row_nothing_is_made_up(service: JobService, control: Control) -> None:
    control.alive = False
    for job_id in "ab":
        with pytest.raises(StoreUnavailable):
            service.view(ANONYMOUS_CALLER, job_id)


def test_a_cancel_reaches_the_controller_all_the_same(service: JobService, control: Control) -> None:
    with pytest.raises(NothingToCancel):
        service.cancel(ANONYMOUS_CALLER, "a")
    assert control.ordered == ["a"]


def test_a_cancel_of_a_running_job_reads_no_row_and_waits_for_none_that_cannot_be_written(
    service: JobService, control: Control
) -> None:
    row = Job("c", 1, JobStatus.RUNNING, 7, "/out/a.png", 1.0, started_at=2.0, attempts=1)
    control.reply = CancelReply(1, "c", job=row, unwritten="the disk is full")
    assert service.cancel(ANONYMOUS_CALLER, "c").job == row, "of which this web worker knew nothing"
    control.says("running", 3)
    view = service.cancel(ANONYMOUS_CALLER, None)
    assert (view.job.status, view.job.step) == (JobStatus.RUNNING, 3)


def test_the_reason_that_the_controller_knows_goes_before_the_web_workers_own(
    service: JobService, control: Control
) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        service.accepting()
    assert refused.value.public == "damaged"
    control.view = PoolView(started_at=1.0, held=True, trouble="replaced; kept as x")
    control.says("canceled")
    for ask in (
        service.accepting,
        lambda: service.server(ANONYMOUS_CALLER),
        lambda: service.view(ANONYMOUS_CALLER, "a"),
    ):
        with pytest.raises(StoreUnavailable) as refused:
            ask()
        assert refused.value.public == "replaced; kept as x"
