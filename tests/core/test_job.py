"""A job's life as data: the table of transitions."""

from __future__ import annotations

import pytest

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import TRANSITIONS, JobStatus, NewJob, sources_of

ENDED = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED}


def test_every_status_has_its_row_in_the_table() -> None:
    assert set(TRANSITIONS) == set(JobStatus)


def test_nothing_follows_an_ended_job() -> None:
    assert {status for status in JobStatus if status.terminal} == ENDED


def test_every_status_can_be_reached_from_the_queue() -> None:
    reached = {JobStatus.QUEUED}
    while more := {target for status in reached for target in TRANSITIONS[status]} - reached:
        reached |= more
    assert reached == set(JobStatus)


@pytest.mark.parametrize("target", JobStatus)
def test_sources_are_the_table_read_backwards(target: JobStatus) -> None:
    assert set(sources_of(target)) == {source for source in JobStatus if target in TRANSITIONS[source]}


def test_a_job_succeeds_only_from_running_and_requeues_only_from_running() -> None:
    assert sources_of(JobStatus.SUCCEEDED) == sources_of(JobStatus.QUEUED) == (JobStatus.RUNNING,)


def test_new_jobs_have_ids_of_their_own() -> None:
    assert len({NewJob({}, "/out/a.png").id for _ in range(100)}) == 100


def test_an_error_as_data_has_only_what_is_known() -> None:
    assert JobError("hang", "no step", rank=0, step=3).as_dict() == {
        "type": "hang",
        "message": "no step",
        "rank": 0,
        "step": 3,
    }
    assert JobError("poison", "twice").as_dict() == {"type": "poison", "message": "twice"}
