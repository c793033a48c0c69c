"""Pauses between tries that fail."""

from __future__ import annotations

from para_attn_server.core.backoff import ExponentialBackoff


def test_each_pause_is_twice_the_one_before_up_to_the_last() -> None:
    backoff = ExponentialBackoff(0.5, 3.0)
    assert [backoff.fail() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.fail() == 0.5


def test_the_first_failures_may_go_without_a_pause() -> None:
    backoff = ExponentialBackoff(0.5, 3.0, unpaused=2)
    assert [backoff.fail() for _ in range(4)] == [0.0, 0.0, 0.5, 1.0]
    assert backoff.failures == 4


def test_it_may_go_on_for_ever() -> None:
    backoff = ExponentialBackoff(0.5, 3.0)
    backoff.failures = 10**6
    assert backoff.fail() == 3.0
