"""How long a job will still take, as far as anybody can know."""

from __future__ import annotations

import dataclasses

import pytest

from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.wire.control import GroupView, PoolView
from para_attn_server.service.estimate import queued_seconds_left, running_seconds_left

RUNNING = Job("a", 1, JobStatus.RUNNING, None, "/o", created_at=90.0, started_at=100.0, started_steady=100.0)


def pool(*states: str) -> PoolView:
    """Groups in these states."""
    jobs = [f"job {n}" if state == "busy" else None for n, state in enumerate(states)]
    return PoolView(0.0, groups=[GroupView(n, state, 0.0, [], jobs[n]) for n, state in enumerate(states)])


def test_a_running_job_goes_on_at_its_own_pace() -> None:
    job = dataclasses.replace(RUNNING, step=4, total_steps=10)
    assert running_seconds_left(job, mean=1000.0, now=108.0) == pytest.approx(12.0)
    done = dataclasses.replace(job, step=10)
    assert running_seconds_left(done, mean=None, now=108.0) == 0.0


def test_before_its_first_step_the_mean_must_do() -> None:
    assert running_seconds_left(RUNNING, mean=20.0, now=105.0) == 15.0
    assert running_seconds_left(RUNNING, mean=20.0, now=150.0) == 0.0
    assert running_seconds_left(RUNNING, mean=None, now=105.0) is None
    assert running_seconds_left(dataclasses.replace(RUNNING, started_steady=None), mean=5.0, now=105.0) is None


def test_a_clock_that_was_put_back_makes_nothing_negative() -> None:
    job = dataclasses.replace(RUNNING, step=4, total_steps=10)
    assert running_seconds_left(job, mean=None, now=50.0) == 0.0


@pytest.mark.parametrize(
    ("position", "states", "seconds"),
    [
        (0, ["ready"], 10.0),
        (1, ["ready"], 20.0),
        (0, ["busy"], 15.0),
        (3, ["busy"], 45.0),
        (3, ["busy", "busy"], 25.0),
        (1, ["busy", "ready"], 15.0),
        (3, ["busy", "broken"], 45.0),
        (0, ["recovering"], 15.0),
    ],
)
def test_a_queued_job_waits_for_rounds_of_the_groups_that_work(
    position: int, states: list[str], seconds: float
) -> None:
    assert queued_seconds_left(position, pool(*states), 10.0, {}) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("position", "states", "seconds"),
    [
        (0, ["busy"], 110.0),
        (1, ["busy"], 120.0),
        (0, ["busy", "busy"], 13.0),
        (1, ["busy", "busy"], 110.0),
        (0, ["busy", "ready"], 10.0),
        (1, ["busy", "recovering"], 110.0),
    ],
)
def test_a_queued_job_waits_for_those_that_run_as_long_as_they_will(
    position: int, states: list[str], seconds: float
) -> None:
    running = {"job 0": 100.0, "job 1": 3.0}
    assert queued_seconds_left(position, pool(*states), 10.0, running) == pytest.approx(seconds)


def test_nothing_is_promised_where_nothing_is_known() -> None:
    assert queued_seconds_left(0, None, 10.0, {}) is None
    assert queued_seconds_left(0, pool("broken"), 10.0, {}) is None
    assert queued_seconds_left(0, pool("ready"), None, {}) is None
