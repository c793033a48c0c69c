"""When failures in a row make a group suspect."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from para_attn_server.pool.streak import FAILURES, NOT_COUNTED, PAUSE_FIRST, PAUSE_LAST, FailureStreak

SMALL = {"prompt": "a red fox", "width": 64, "seed": 1}


def fails(streak: FailureStreak, count: int, now: float = 0.0, kind: str = "ValueError", **kwargs: Any) -> list[bool]:
    """What is said of each of that many failures of different jobs."""
    return [streak.failed({**SMALL, "seed": seed, **kwargs}, kind, now) for seed in range(count)]


def test_different_jobs_that_fail_in_a_row_make_it_suspect_once() -> None:
    assert fails(FailureStreak(), 9) == [False, False, True] + 6 * [False]


def test_one_job_that_fails_again_and_again_does_not() -> None:
    streak = FailureStreak()
    assert not any(streak.failed(SMALL, "ValueError", 0.0) for _ in range(10))
    assert streak.failed({**SMALL, "seed": 2}, "ValueError", 0.0)


def test_a_success_in_between_clears_the_group() -> None:
    streak = FailureStreak()
    for _ in range(5):
        assert not any(fails(streak, FAILURES - 1))
        streak.succeeded(SMALL)


def test_a_hundred_bad_requests_in_a_minute_cost_one_rebuild() -> None:
    streak = FailureStreak()
    suspect = []
    for second in range(100):
        suspect.append(streak.failed({"seed": second}, "ValueError", second * 0.59))
        if suspect[-1]:
            streak.rebuilt()
    assert suspect.count(True) == 1


def test_without_a_success_the_next_rebuilds_come_after_pauses_that_double() -> None:
    streak, now, rebuilds = FailureStreak(), 0.0, []
    while len(rebuilds) < 12:
        now += 1
        if streak.failed({"seed": now}, "ValueError", now):
            rebuilds.append(now)
            streak.rebuilt()
    pauses = [after - before for before, after in pairwise(rebuilds)]
    assert pauses == [min(PAUSE_FIRST * 2**power, PAUSE_LAST) for power in range(11)]


def test_after_a_success_the_next_damage_is_mended_at_once() -> None:
    streak = FailureStreak()
    for now in range(5):
        assert fails(streak, FAILURES, float(now))[-1]
        streak.rebuilt()
        streak.succeeded(SMALL)


@pytest.mark.parametrize("kind", NOT_COUNTED)
def test_what_is_not_the_groups_fault_is_not_counted(kind: str) -> None:
    streak = FailureStreak()
    assert not any(fails(streak, 10, kind=kind))
    assert not any(fails(streak, FAILURES - 1))


def test_memory_counts_only_for_a_shape_that_has_fitted_before() -> None:
    streak = FailureStreak()
    assert not any(fails(streak, 10, kind="out_of_memory"))
    streak.succeeded(SMALL)
    assert not any(fails(streak, 10, kind="out_of_memory", width=4096))
    assert not any(fails(streak, 10, kind="out_of_memory", size="2048x2048"))
    assert fails(streak, FAILURES, kind="out_of_memory", prompt="a blue whale under a bridge")[-1]


def test_the_shapes_that_fitted_are_not_kept_for_ever() -> None:
    streak = FailureStreak()
    for width in range(2000):
        streak.succeeded({"width": width, "mask": [1] * 5, "options": {"a": 1}, "image": "x" * 1000})
    assert len(streak._fitted) < 300
