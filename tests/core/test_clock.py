"""The clock that stands still while its process does."""

from __future__ import annotations

import pytest

from para_attn_server.core.clock import LONG, TOLERATED, RunningClock

EVERY = 0.1


class Source:
    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


def test_time_passes_while_it_is_read_in_time_however_busy_the_machine() -> None:
    source = Source()
    clock = RunningClock(EVERY, source)
    start = clock()
    for _ in range(100):
        source.now += EVERY + TOLERATED - 0.01
        clock()
    assert clock() - start == pytest.approx(100 * (EVERY + TOLERATED - 0.01))


@pytest.mark.parametrize("pause", [0.5, 12.0, 86400.0])
def test_a_pause_takes_no_longer_than_the_reading_that_it_held_up(pause: float) -> None:
    source = Source()
    clock = RunningClock(EVERY, source)
    start = clock()
    for _ in range(3):
        source.now += EVERY + pause
        clock()
        source.now += EVERY
        clock()
    assert clock() - start == pytest.approx(6 * EVERY)


def test_long_pauses_are_counted_each_by_itself() -> None:
    source = Source()
    clock = RunningClock(EVERY, source)
    for pause in (LONG - 1, LONG - 1, LONG + 1, 0.0, 7200.0):
        source.now += EVERY + pause
        clock()
    assert clock.long_pauses == 2
