"""How long a job will still take, as far as anybody can know."""

from __future__ import annotations

import dataclasses

import pytest

from para_attn_server.core.job import Job, JobStatus
from para_attn_server.service.estimate import retry_after, running_seconds_left

RUNNING = Job("a", 1, JobStatus.RUNNING, None, "/o", created_at=90.0, started_at=100.0, started_steady=100.0)


def test_a_running_job_goes_on_at_its_own_pace() -> None:
    job = dataclasses.replace(RUNNING, step=4, total_steps=10)
    assert running_seconds_left(job, expected=1000.0, now=108.0) == pytest.approx(12.0)
    done = dataclasses.replace(job, step=10)
    assert running_seconds_left(done, expected=None, now=108.0) == 0.0


def test_before_its_first_step_what_is_expected_must_do() -> None:
    assert running_seconds_left(RUNNING, expected=20.0, now=105.0) == 15.0
    assert running_seconds_left(RUNNING, expected=20.0, now=150.0) == 0.0
    assert running_seconds_left(RUNNING, expected=None, now=105.0) is None
    assert running_seconds_left(dataclasses.replace(RUNNING, started_steady=None), expected=5.0, now=105.0) is None


def test_a_clock_that_was_put_back_makes_nothing_negative() -> None:
    job = dataclasses.replace(RUNNING, step=4, total_steps=10)
    assert running_seconds_left(job, expected=None, now=50.0) == 0.0


@pytest.mark.parametrize(
    ("next_start", "seconds"), [(None, None), (90.0, 1), (100.0, 1), (100.5, 1), (106.2, 7), (900.0, 60)]
)
def test_a_full_queue_asks_to_wait_until_the_next_job_starts(next_start: float | None, seconds: int | None) -> None:
    assert retry_after(next_start, 100.0) == seconds
