"""Memory over thousands of bad requests of every kind: neither the web worker nor the controller keeps anything of
them."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from hostile import ALL, MAX_BODY, answer_to
from serving import BOUNDED, RunningServer

MEGABYTE = 2**20
SAMPLES = 20
MOST, STEEPEST = 3.0, 0.3
"""MB in all, and MB per 1,000 requests: 0.3 kB a request."""


def growth(server: RunningServer, requests: int, warm_up: int) -> dict[str, tuple[float, float]]:
    """By process: the MB that it grew by from the first third of the samples to the last, and per 1,000 requests."""
    port = urlsplit(server.url).port
    assert port
    kinds = itertools.cycle(ALL.values())
    for request in itertools.islice(kinds, warm_up):
        assert answer_to(port, request)[0] == request.status
    found = server.processes()
    watched = {name: found[name] for name in ("controller", "web worker")}
    samples: dict[str, list[float]] = {name: [] for name in watched}
    for _ in range(SAMPLES):
        for request in itertools.islice(kinds, requests // SAMPLES):
            assert answer_to(port, request)[0] == request.status
        for name, process in watched.items():
            samples[name].append(process.memory_info().rss / MEGABYTE)
    third, thousands = SAMPLES // 3, [requests / SAMPLES / 1000 * number for number in range(SAMPLES)]
    return {
        name: (
            statistics.mean(values[-third:]) - statistics.mean(values[:third]),
            statistics.linear_regression(thousands, values).slope,
        )
        for name, values in samples.items()
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_is_flat_over_ten_thousand_bad_requests(serve: Callable[..., RunningServer]) -> None:
    server = serve(BOUNDED, max_body=MAX_BODY)
    server.wait_ready()
    grown = growth(server, requests=10_000, warm_up=1_000)
    for megabytes, slope in grown.values():
        assert megabytes < MOST and slope < STEEPEST, grown
    assert server.result(server.submit(prompt="a")).status_code == 200
    assert server.get("/server_status").json()["queue"]["failed"] == 0
