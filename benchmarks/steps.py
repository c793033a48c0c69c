"""The cost of step control: the same loop of collectives with it (in the server) and without it (bare)."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from typing import Any

from jobs import Comparison
from measure import spread
from table import Row, row_of

US = 1e6


def step_control(pair: Comparison, rounds: int, steps: int, jitter: float) -> list[Row]:
    """Loops with and without in turn. jitter: seconds that each rank sleeps at most before each step's collective."""
    arguments = {"steps": steps, "delay": 0.0, "jitter": jitter}
    on, off, calls = [], [], []
    for _ in range(rounds):
        number = pair.number()
        pair.server.job(**arguments, seed=number)
        pair.bare.job(**arguments, seed=number)
        with_it = [notes[number] for notes in pair.server.stamps.read()]
        without = [notes[number] for notes in pair.bare.stamps.read()]
        on += [turn for rank in with_it for turn in _turns(rank)]
        off += [turn for rank in without for turn in _turns(rank)]
        calls += [US * (end - begin) for rank in with_it for begin, end in _calls(rank)]
    how = f"up to {1000 * jitter:.0f} ms of jitter" if jitter else "no jitter"
    figure = f"step control per step, 2 ranks, {how}: loop with it less loop without"
    # The number of a job seeds its jitter: turn by turn, both loops slept alike.
    more = statistics.median(a - b for a, b in zip(on, off, strict=True))
    cost = Row(figure, "us", more, len(on), spread(on).p99 - spread(off).p99, 100.0)
    return [cost, row_of(f"... time in the call, all ranks, {how}", "us", spread(calls))]


def _turns(note: dict[str, Any]) -> list[float]:
    """Microseconds of each turn of the loop on one rank."""
    return [US * (after - before) for before, after in itertools.pairwise(note["passed"])]


def _calls(note: dict[str, Any]) -> Iterator[tuple[float, float]]:
    return zip(note["steps"], note["passed"], strict=True)
