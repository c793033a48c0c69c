"""What a predictor has started does not outlive its rank, or not for longer than to the next start of the server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from serving import RunningServer
from waiting import wait_until

LEAVING = f"{Path(__file__).parents[1] / 'predictors' / 'leaving.py'}:LeavingPredictor"
Serve = Callable[..., RunningServer]


def helper_of(server: RunningServer, note: Path, how: str) -> tuple[psutil.Process, str]:
    """A running job and the helper that its rank zero has started."""
    job_id = server.submit(how=how, note=str(note))
    server.wait_step(job_id, 2)
    return psutil.Process(int(note.read_text())), job_id


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "how",
    ["group", "session", pytest.param("orphan", marks=pytest.mark.slow), pytest.param("fork", marks=pytest.mark.slow)],
)
def test_helpers_of_a_rank_that_dies_by_itself_are_gone_when_its_group_is_back(
    serve: Serve, tmp_path: Path, how: str
) -> None:
    server = serve(LEAVING, num_groups=2, max_attempts=1, shutdown_timeout="0s")
    server.wait_ready()
    wait_until(lambda: [server.group(g)["state"] for g in (0, 1)] == ["ready", "ready"], 60)
    lost, lost_job = helper_of(server, tmp_path / "lost", how)
    others, _ = helper_of(server, tmp_path / "others", how)
    group = next(g for g in (0, 1) if server.group(g)["job_id"] == lost_job)
    os.kill(server.rank_pid(0, group), signal.SIGKILL)
    assert server.result(lost_job).status_code == 500
    wait_until(lambda: server.group(group)["state"] == "ready", 30)
    assert not runs(lost)
    assert runs(others), "the helper of a rank that lives"
    assert not server.log().count("Traceback")


@pytest.mark.parametrize("how", [pytest.param("session", marks=pytest.mark.slow), "orphan"])
def test_helpers_do_not_outlive_the_servers_orderly_end(serve: Serve, tmp_path: Path, how: str) -> None:
    server = serve(LEAVING)
    server.wait_ready()
    job_id = server.submit(how=how, note=str(tmp_path / "note"), steps=2)
    assert server.result(job_id).status_code == 200
    helper = psutil.Process(int((tmp_path / "note").read_text()))
    assert runs(helper)
    assert server.terminate() == 0
    assert not runs(helper)


@pytest.mark.parametrize(
    "how",
    [pytest.param("group", marks=pytest.mark.slow), pytest.param("session", marks=pytest.mark.slow), "orphan", "fork"],
)
def test_helpers_that_a_killed_controller_leaves_are_ended_by_the_next_start(
    serve: Serve, tmp_path: Path, how: str
) -> None:
    foreign = serve(LEAVING, state_dir=tmp_path / "other", output_dir=tmp_path / "other outputs", shutdown_timeout="0s")
    server = serve(LEAVING, max_attempts=1, shutdown_timeout="0s")
    server.wait_ready()
    foreign.wait_ready()
    spared, _ = helper_of(foreign, tmp_path / "foreign", how)
    helper, _ = helper_of(server, tmp_path / "note", how)
    server.kill()
    assert runs(helper), "else this test shows nothing"
    again = serve(LEAVING, max_attempts=1, shutdown_timeout="0s")
    again.wait_ready()
    assert not runs(helper)
    assert runs(spared), "the helper of a server that lives"


def test_helpers_do_not_outlive_their_forkserver(serve: Serve, tmp_path: Path) -> None:
    server = serve(LEAVING)
    server.wait_ready()
    helper, job_id = helper_of(server, tmp_path / "note", "session")
    server.processes()["forkserver"].kill()
    wait_until(lambda: not runs(helper), 20)
    wait_until(lambda: server.status(job_id)["status"] == "running", 30)
