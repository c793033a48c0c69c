"""A rank that hangs is noticed, named, and replaced; the job is done all the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from serving import RunningServer


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", ["sleep", "spin", "sigstop"])
def test_a_hang_once_costs_an_attempt_and_names_the_laggard(
    chaos: RunningServer, kind: str, rank: int, tmp_path: Path
) -> None:
    before = len(chaos.records("worker group is rebuilt"))
    job_id = chaos.submit(kind=kind, rank=rank, marker=str(tmp_path / "marker"))
    assert chaos.result(job_id).status_code == 200
    assert chaos.status(job_id)["attempts"] == 2
    (record,) = chaos.records("worker group is rebuilt")[before:]
    assert f"rank {rank} holds the others up" in record["cause"]


def test_the_stacks_of_all_ranks_are_in_the_log_and_show_the_line(chaos: RunningServer, tmp_path: Path) -> None:
    before = len(chaos.records("stacks of a stuck run"))
    job_id = chaos.submit(kind="sleep", rank=1, marker=str(tmp_path / "marker"))
    assert chaos.result(job_id).status_code == 200
    stacks = {record["rank"]: record["stacks"] for record in chaos.records("stacks of a stuck run")[before:]}
    assert "break_now" in stacks[1]
    assert "all_reduce" in stacks[0]


def test_a_job_that_hangs_every_time_is_poison(chaos: RunningServer) -> None:
    result = chaos.result(chaos.submit(kind="sleep", rank=1)).json()
    assert result["error"]["type"] == "poison"
    assert "rank 1 holds the others up" in result["error"]["message"]
    assert result["error"]["rank"] == 1
    assert chaos.result(chaos.submit()).status_code == 200


def test_a_rank_stopped_while_idle_is_found_by_the_next_job(chaos: RunningServer) -> None:
    os.kill(chaos.rank_pid(1), signal.SIGSTOP)
    job_id = chaos.submit()
    assert chaos.result(job_id).status_code == 200
    assert chaos.status(job_id)["attempts"] == 2
