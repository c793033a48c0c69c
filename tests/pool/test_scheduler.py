"""The order of the queue, as tables and as properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from para_attn_server.core.job import Job, JobStatus, Priority
from para_attn_server.pool.run import EXPIRED
from para_attn_server.pool.scheduler import Decision, PlanGroup, Start, Stop, forecast, plan

SECONDS = {"image": 10.0, "video": 100.0}
LOW, NORMAL, HIGH = Priority
NO_TARGET = 1e9


def cost(job: Job, ranks: int) -> float | None:
    """Seconds of the shapes that are known."""
    return SECONDS.get(job.shape)


def job(seq: int, created: float = 0.0, started: float | None = None, **more: Any) -> Job:
    """An image of the one owner, queued unless it has started; its id is its number."""
    status = JobStatus.QUEUED if started is None else JobStatus.RUNNING
    times = {"created_steady": created, "started_steady": started}
    return Job(str(seq), seq, status, None, "/o", 0.0, **times, **{"shape": "image", **more})


def groups(*states: bool, left: float | None = None) -> list[PlanGroup]:
    """Groups of one rank; True: ready. left: by the pace of what runs on the first."""
    return [PlanGroup(index, 1, ready, None if index else left) for index, ready in enumerate(states)]


def started(decisions: list[Decision]) -> list[tuple[str, int]]:
    """Ids and groups of what is started."""
    return [(each.job.id, each.group) for each in decisions if isinstance(each, Start)]


def order(jobs: Sequence[Job], now: float = 0.0, used: Mapping[str, float] | None = None) -> list[int]:
    """The numbers of the queued jobs in the order in which a single group takes them."""
    return [each.job.seq for each in forecast(now, jobs, groups(True), cost, used)]


@pytest.mark.parametrize(
    ("jobs", "now", "expected"),
    [
        pytest.param([], 0.0, [], id="nothing is queued"),
        pytest.param([job(3), job(1), job(2)], 0.0, [1, 2, 3], id="equal jobs: first come, first served"),
        pytest.param([job(1), job(2, created=50.0)], 50.0, [1, 2], id="equal jobs, the elder late: still in line"),
        pytest.param([job(1, priority=LOW), job(2), job(3, priority=HIGH)], 0.0, [3, 2, 1], id="priority classes"),
        pytest.param(
            [job(1, priority=HIGH), job(2, created=50.0)], 50.0, [1, 2], id="a late job yields within its class only"
        ),
        pytest.param([job(1, target=90.0), job(2, target=30.0)], 0.0, [2, 1], id="the earliest target first"),
        pytest.param([job(1, target=30.0), job(2, target=90.0)], 25.0, [2, 1], id="late last"),
        pytest.param(
            [job(1, target=30.0), job(2, target=29.0), job(3, target=90.0)], 25.0, [3, 2, 1], id="two that are late"
        ),
        pytest.param([job(1, shape="video"), job(2)], 0.0, [2, 1], id="default targets: short jobs first"),
        pytest.param(
            [job(1), job(2, shape="video", created=10.0)], 10.0, [2, 1], id="a default target can be missed too"
        ),
        pytest.param(
            [job(1, target=30.0), job(2, target=300.0)], 71.0, [1, 2], id="long overdue: the second target has passed"
        ),
        pytest.param(
            [job(1, target=10.0), job(2, target=11.0), job(3, target=300.0)],
            71.0,
            [1, 3, 2],
            id="one overdue at a time",
        ),
        pytest.param(
            [job(1, shape="unknown"), job(2, shape="unknown")], 900.0, [1, 2], id="what takes unknown time is in time"
        ),
        pytest.param([job(1), job(2, shape="unknown", target=5.0)], 4.0, [2, 1], id="but has its own target"),
    ],
)
def test_the_order_of_one_owners_jobs(jobs: list[Job], now: float, expected: list[int]) -> None:
    assert order(jobs, now) == expected


def test_no_overdue_job_goes_first_while_a_group_runs_a_late_one() -> None:
    late = job(9, target=20.0, group=0, started=60.0)
    jobs = [late, job(1, target=10.0), job(2, target=300.0)]
    assert started(plan(71.0, jobs, groups(False, True), cost)) == [("2", 1)]


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        pytest.param({}, [1, 2, 4, 3, 5], id="nobody is ahead by more than one job"),
        pytest.param({"a": 9.0}, [1, 4, 2, 5, 3], id="by turns"),
        pytest.param({"a": 35.0}, [4, 5, 1, 2, 3], id="who has had more waits"),
        pytest.param({"c": 900.0}, [1, 2, 4, 3, 5], id="owners without jobs do not matter"),
    ],
)
def test_two_owners_share(used: dict[str, float], expected: list[int]) -> None:
    owners = ["a", "a", "a", "b", "b"]
    jobs = [job(seq, owner=owner, target=NO_TARGET + seq) for seq, owner in enumerate(owners, 1)]
    assert order(jobs, used=used) == expected


def test_a_late_job_of_an_owner_within_its_share_goes_before_those_of_one_that_is_not() -> None:
    jobs = [job(1, owner="flood", target=NO_TARGET), job(2, owner="me", target=1.0)]
    assert order(jobs, now=5.0, used={"flood": 50.0}) == [2, 1]


def test_what_runs_counts_for_its_owners_share() -> None:
    running = [job(n, owner="a", group=n, started=0.0) for n in (0, 1)]
    jobs = [*running, job(5, owner="a"), job(6, owner="b")]
    assert started(plan(0.0, jobs, groups(False, False, True), cost)) == [("6", 2)]


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        ([], []),
        ([False], []),
        ([True], [("1", 0)]),
        ([False, True, True, True], [("1", 1), ("2", 2)]),
    ],
)
def test_the_first_jobs_go_to_the_first_free_groups(ready: list[bool], expected: list[tuple[str, int]]) -> None:
    assert started(plan(0.0, [job(2), job(1)], groups(*ready), cost)) == expected


def test_a_queued_job_past_its_deadline_is_stopped_and_not_started() -> None:
    jobs = [job(1, deadline=5.0), job(2, deadline=5.1), job(3, deadline=4.0, group=1, started=0.0)]
    decisions = plan(5.0, jobs, groups(True, False), cost)
    assert decisions == [Stop(jobs[0], EXPIRED), Start(jobs[1], 0)]


@pytest.mark.parametrize(
    ("running", "of", "ends"),
    [
        ([], groups(True), [10.0, 20.0]),
        ([], groups(True, True), [10.0, 10.0]),
        ([], groups(False), [15.0, 25.0]),
        ([], [], [None, None]),
        ([job(9, group=0, started=-4.0)], groups(False), [16.0, 26.0]),
        ([job(9, group=0, started=-400.0)], groups(False), [10.0, 20.0]),
        ([job(9, group=0, started=-4.0)], groups(False, left=3.0), [13.0, 23.0]),
        ([job(9, group=0, started=0.0, shape="video")], groups(False, True), [10.0, 20.0]),
    ],
)
def test_when_the_queued_jobs_will_have_ended(
    running: list[Job], of: list[PlanGroup], ends: list[float | None]
) -> None:
    found = forecast(0.0, [*running, job(1), job(2)], of, cost)
    assert [each.ends for each in found] == ends
    assert [each.starts for each in found] == [None if end is None else end - 10.0 for end in ends]


def test_an_end_is_not_forecast_where_no_time_is_known() -> None:
    (found,) = forecast(0.0, [job(1, shape="unknown")], groups(True), cost)
    assert (found.starts, found.ends) == (0.0, None)


def test_only_so_many_are_forecast() -> None:
    assert [each.job.seq for each in forecast(0.0, [job(3), job(2), job(1)], groups(True), cost, most=2)] == [1, 2]


JOBS = st.lists(
    st.builds(
        Job,
        id=st.none(),
        seq=st.none(),
        status=st.just(JobStatus.QUEUED),
        seed=st.none(),
        output_path=st.just("/o"),
        created_at=st.just(0.0),
        priority=st.sampled_from([LOW, NORMAL, HIGH]),
        owner=st.sampled_from(["a", "b"]),
        shape=st.sampled_from(["image", "video", "unknown"]),
        target=st.none() | st.floats(-100, 500),
        deadline=st.none() | st.floats(0, 2000),
    ),
    max_size=12,
).map(lambda jobs: [replace(job, id=str(n), seq=n, created_steady=3.0 * n - 40) for n, job in enumerate(jobs)])
USED = st.fixed_dictionaries({"a": st.floats(0, 300), "b": st.floats(0, 300)})


@given(JOBS, st.floats(0, 300), st.integers(0, 3), USED)
def test_every_job_that_may_run_is_in_the_order_once(
    jobs: list[Job], now: float, free: int, used: dict[str, float]
) -> None:
    listed = [each.job.id for each in forecast(now, jobs, groups(*[True] * free), cost, used)]
    assert sorted(listed) == sorted(job.id for job in jobs if job.deadline is None or job.deadline > now)
    decisions = plan(now, jobs, groups(*[True] * free), cost, used)
    assert started(decisions) == [(job_id, group) for group, job_id in enumerate(listed[:free])]


@given(JOBS, st.floats(0, 300), USED)
def test_equal_jobs_are_in_line_whatever_else_waits(jobs: list[Job], now: float, used: dict[str, float]) -> None:
    lines: dict[Any, list[int]] = {}
    for each in forecast(now, jobs, groups(True), cost, used):
        taken = each.job
        if taken.target is None:
            lines.setdefault((taken.owner, taken.priority, taken.shape), []).append(taken.seq)
    assert all(line == sorted(line) for line in lines.values())


@given(JOBS, st.floats(0, 300), USED)
def test_no_class_waits_for_a_lower_one(jobs: list[Job], now: float, used: dict[str, float]) -> None:
    taken = [each.job.priority for each in forecast(now, jobs, groups(True), cost, used)]
    assert taken == sorted(taken, reverse=True)


@given(JOBS, st.floats(0, 300))
def test_no_late_job_is_before_one_with_a_target_that_can_be_met(jobs: list[Job], now: float) -> None:
    jobs = [replace(job, owner="me", priority=NORMAL, target=job.target or 0.0) for job in jobs]
    taken = [each.job for each in forecast(now, jobs, groups(True), cost)]
    late = [now + SECONDS.get(job.shape, 0.0) > (job.target or 0.0) for job in taken]
    overdue = bool(taken) and late[0] and taken[0].target is not None and taken[0].target < now
    assert late[overdue:] == sorted(late[overdue:])


@given(JOBS, st.integers(1, 3), st.floats(1, 40))
def test_no_job_starves_once_no_more_come(jobs: list[Job], count: int, each_takes: float) -> None:
    waiting = {job.id: replace(job, deadline=None) for job in jobs}
    used: dict[str, float] = {}
    now, rounds = 0.0, 0
    while waiting:
        starts = plan(now, list(waiting.values()), groups(*[True] * count), cost, used)
        assert len(starts) == min(count, len(waiting))
        for start in starts:
            assert isinstance(start, Start)
            taken = waiting.pop(start.job.id)
            used[taken.owner] = used.get(taken.owner, 0.0) + each_takes
        now, rounds = now + each_takes, rounds + 1
    assert rounds == -(-len(jobs) // count)


@given(st.integers(1, 4), st.integers(0, 20))
def test_a_requeued_job_is_before_its_equals_that_never_ran(lost: int, later: int) -> None:
    """It keeps its number, and those that never ran have greater ones."""
    queue = [job(n, created=float(n)) for n in range(lost + later)]
    assert order(queue[lost:] + queue[:lost], now=50.0)[:lost] == list(range(lost))


def test_a_late_job_is_not_starved_by_an_endless_stream_of_others() -> None:
    late, now, taken = job(0, target=0.0), 20.0, []
    while ("0", 0) not in taken and now < 1000:
        stream = [job(n, created=now, target=now + 600.0) for n in (1, 2)]
        taken += started(plan(now, [late, *stream], groups(True), cost))
        now += 10.0
    assert now <= 70.0


RED, BLUE = "red", "blue"


def of_models(*states: tuple[str, bool]) -> list[PlanGroup]:
    """Groups of one rank, each with its model and whether it is ready."""
    return [PlanGroup(index, 1, ready, None, model) for index, (model, ready) in enumerate(states)]


def test_a_job_starts_on_a_group_of_its_model_and_waits_for_no_other() -> None:
    jobs = [job(n, model=RED, priority=HIGH) for n in range(1, 4)] + [job(n, model=BLUE) for n in range(4, 7)]
    both = of_models((RED, False), (BLUE, True), (BLUE, True))
    assert started(plan(0.0, jobs, both, cost)) == [("4", 1), ("5", 2)]
    both = of_models((RED, True), (BLUE, False), (RED, True))
    assert started(plan(0.0, jobs, both, cost)) == [("1", 0), ("2", 2)]
    assert started(plan(0.0, jobs, of_models(("green", True)), cost)) == []


def test_a_late_job_of_one_model_does_not_hold_back_an_overdue_one_of_another() -> None:
    late = job(9, target=20.0, group=0, started=60.0, model=RED)
    jobs = [late, job(1, target=10.0, model=BLUE), job(2, target=300.0, model=BLUE)]
    assert started(plan(71.0, jobs, of_models((RED, False), (BLUE, True)), cost)) == [("1", 1)]


def test_each_models_jobs_are_forecast_on_its_own_groups() -> None:
    jobs = [job(1, model=RED), job(2, model=RED), job(3, model=RED), job(4, model=BLUE), job(5, model=BLUE)]
    found = forecast(0.0, jobs, of_models((RED, True), (BLUE, True), (BLUE, True)), cost)
    assert {each.job.seq: (each.place, each.starts, each.ends) for each in found} == {
        1: (0, 0.0, 10.0),
        2: (1, 10.0, 20.0),
        3: (2, 20.0, 30.0),
        4: (0, 0.0, 10.0),
        5: (1, 0.0, 10.0),
    }
    starts = [each.starts for each in found]
    assert starts == sorted(starts, key=float), "all of them in the order of their starts"
