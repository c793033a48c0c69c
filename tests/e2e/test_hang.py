"""What is up and yet cannot work: a rank that hangs is noticed, named and replaced, and the job is done all the same;
a group whose jobs all fail is rebuilt."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from serving import CHAOS_STEP_TIMEOUT, RunningServer
from waiting import wait_until


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


def test_a_pause_of_the_whole_server_costs_a_job_nothing(chaos: RunningServer) -> None:
    before = len(chaos.records("run is stuck"))
    job_id = chaos.submit(delay=0.4)
    chaos.wait_step(job_id, 2)
    parent = psutil.Process(chaos.process.pid)
    paused = [parent, *parent.children(recursive=True)]
    try:
        for process in paused:
            process.suspend()
        ends = time.monotonic() + 1.5 * CHAOS_STEP_TIMEOUT
        wait_until(lambda: time.monotonic() > ends)
    finally:
        for process in reversed(paused):
            process.resume()
    assert chaos.result(job_id).status_code == 200
    assert chaos.status(job_id)["attempts"] == 1
    assert chaos.records("run is stuck")[before:] == []
    assert chaos.records("process was paused")


def rebuilt(server: RunningServer) -> list[str]:
    """Why it was, each time."""
    return [record["cause"] for record in server.records("worker group is rebuilt")]


@pytest.mark.parametrize("rank", [-1, 0, 1])
def test_a_process_group_that_a_job_destroyed_at_its_end_costs_no_job(chaos: RunningServer, rank: int) -> None:
    before = len(rebuilt(chaos))
    jobs = [chaos.submit(kind="destroy", point="output", rank=rank), *(chaos.submit(seed=seed) for seed in range(3))]
    assert [chaos.result(job).status_code for job in jobs] == [200] * 4
    assert [chaos.status(job)["attempts"] for job in jobs] == [1] * 4
    (cause,) = rebuilt(chaos)[before:]
    assert "the process group that setup() made is gone" in cause


def test_a_process_group_that_a_job_destroyed_before_it_failed_costs_that_job_alone(chaos: RunningServer) -> None:
    before = len(rebuilt(chaos))
    broken = chaos.result(chaos.submit(kind="destroy", point="middle", rank=-1))
    assert broken.status_code == 500
    assert broken.json()["error"]["type"] == "ValueError"
    assert chaos.result(chaos.submit()).status_code == 200
    assert len(rebuilt(chaos)) == before + 1


def test_a_group_that_fails_every_job_is_rebuilt_and_so_it_is_when_damaged_again(chaos: RunningServer) -> None:
    for _ in range(2):
        before = len(rebuilt(chaos))
        jobs = [chaos.submit(kind="damage", rank=-1), *(chaos.submit(seed=seed) for seed in range(5))]
        assert [chaos.result(job).status_code for job in jobs] == [200, 500, 500, 500, 200, 200]
        assert chaos.status(jobs[3])["attempts"] == 1
        (cause,) = rebuilt(chaos)[before:]
        assert "different jobs failed one after the other, the last with RuntimeError" in cause


def test_bad_requests_cost_at_most_one_rebuild(chaos: RunningServer) -> None:
    assert chaos.result(chaos.submit()).status_code == 200
    before = len(rebuilt(chaos))
    jobs = [chaos.submit(kind="raise", point="first", rank=-1, seed=seed) for seed in range(100)]
    assert [chaos.result(job).status_code for job in jobs] == [500] * 100
    assert len(rebuilt(chaos)) == before + 1
    assert chaos.result(chaos.submit()).status_code == 200
