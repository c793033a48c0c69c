"""However a request calls its pipeline: its steps are seen, a cancel keeps the group, the next job is as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from many_pipes import Way
from serving import RunningServer, shared_server
from waiting import wait_until

MODEL = f"{Path(__file__).parents[1] / 'predictors' / 'many_pipes.py'}:ManyPipes"
pytestmark = pytest.mark.slow  # a server of its own


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two ranks."""
    yield from shared_server(MODEL, tmp_path_factory.mktemp("pipes"))


@pytest.mark.parametrize("way", [way for way in get_args(Way) if way != "in a thread"])
def test_a_cancel_keeps_the_group(server: RunningServer, way: str) -> None:
    before = server.result(server.submit(way=way)).json()["sha256"]
    pids = [server.rank_pid(rank) for rank in (0, 1)]
    job_id = server.submit(way=way, steps=900, delay=0.01)
    server.wait_step(job_id, 3)
    assert server.status(job_id)["total_steps"] == (1799 if way == "order 2" else 900)
    assert server.post(f"/cancel/{job_id}").status_code == 200
    assert server.result(job_id).status_code == 410
    assert server.result(server.submit(way=way)).json()["sha256"] == before
    assert [server.rank_pid(rank) for rank in (0, 1)] == pids


def test_a_cancel_reaches_a_thread_of_the_run(server: RunningServer) -> None:
    job_id = server.submit(way="in a thread", steps=900, delay=0.01)
    server.wait_step(job_id, 3)
    pids = [server.rank_pid(rank) for rank in (0, 1)]
    assert server.post(f"/cancel/{job_id}").status_code == 200
    wait_until(lambda: server.result(server.submit()).status_code == 200, 60)
    assert [server.rank_pid(rank) for rank in (0, 1)] == pids
