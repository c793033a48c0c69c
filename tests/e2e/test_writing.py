"""The phase after a run: rank zero writes the output of one job while its group does the next."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import DRAWING, RunningServer, shared_server
from waiting import wait_until

Serve = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server on two ranks, whose encoders are as slow as the tests say."""
    yield from shared_server(DRAWING, tmp_path_factory.mktemp("drawing"))


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Path]:
    """Encoders wait while this file is there."""
    path = tmp_path / "hold"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


def written(server: RunningServer, hold: Path, **arguments: Any) -> str:
    """A job whose output is being written, once that is so."""
    job_id = server.submit(hold=str(hold), **arguments)
    wait_until(lambda: is_written(server, job_id), 30, f"{job_id} to be written")
    return job_id


def is_written(server: RunningServer, job_id: str) -> bool:
    status = server.status(job_id)
    return (status["status"], status["phase"]) == ("running", "writing")


def running(server: RunningServer, **arguments: Any) -> str:
    """A job that the ranks are in."""
    job_id = server.submit(steps=10_000, delay=0.01, **arguments)
    server.wait_step(job_id, 1)
    return job_id


def pids(server: RunningServer) -> list[int]:
    return [server.rank_pid(rank) for rank in (0, 1)]


def leftovers(server: RunningServer) -> list[Path]:
    """Folders of jobs in the output root."""
    output = server.result(server.submit(seed=1)).json()["output_path"]
    return list(Path(output).parents[3].glob(".*.part"))


def brightness(answer: dict[str, Any]) -> Any:
    return Image.open(answer["output_path"]).getpixel((0, 0))


def test_the_group_does_the_next_job_while_an_output_is_written(drawing: RunningServer, hold: Path) -> None:
    slow = written(drawing, hold, seed=7)
    assert drawing.group()["writing"] == [slow]
    quick = drawing.result(drawing.submit(seed=9))
    assert (quick.status_code, brightness(quick.json())) == (200, (9, 9, 9))
    assert is_written(drawing, slow)
    hold.unlink()
    done = drawing.result(slow).json()
    assert brightness(done) == (7, 7, 7)
    assert done["timings"]["phases"]["write"] > quick.json()["timings"]["phases"]["write"]
    assert (done["step"], done["attempts"], done["phase"]) == (2, 1, None)


def test_a_group_that_has_two_to_write_waits(drawing: RunningServer, hold: Path) -> None:
    two = [written(drawing, hold, seed=seed) for seed in (1, 2)]
    third = drawing.submit(seed=3)
    assert drawing.group()["state"] == "busy" and drawing.group()["writing"] == two
    assert drawing.status(third)["status"] == "queued"
    hold.unlink()
    assert [brightness(drawing.result(job).json())[0] for job in (*two, third)] == [1, 2, 3]


def test_a_cancel_ends_it_at_once_and_leaves_no_file(drawing: RunningServer, hold: Path) -> None:
    before = pids(drawing)
    job_id = written(drawing, hold)
    assert drawing.post(f"/cancel/{job_id}").status_code == 200
    assert drawing.result(job_id).status_code == 410
    hold.unlink()
    wait_until(lambda: not leftovers(drawing), 10, "half of a picture to go")
    assert pids(drawing) == before


def test_a_cancel_without_an_id_prefers_what_is_on_ranks(drawing: RunningServer, hold: Path) -> None:
    older = written(drawing, hold)
    younger = running(drawing)
    assert [drawing.post("/cancel").json()["request_id"] for _ in range(2)] == [younger, older]
    assert drawing.post("/cancel").status_code == 404


@pytest.mark.parametrize(("fault", "kind"), [("raise", "ValueError"), ("disk", "output_unwritable")])
def test_an_encoder_that_fails_costs_its_job_alone(drawing: RunningServer, hold: Path, fault: str, kind: str) -> None:
    before = pids(drawing)
    job_id = written(drawing, hold, fault=fault)
    other = drawing.submit(seed=5, steps=100)
    hold.unlink()
    failed = drawing.result(job_id)
    assert (failed.status_code, failed.json()["error"]["type"], failed.json()["error"]["rank"]) == (500, kind, 0)
    log = drawing.get(f"/jobs/{job_id}/log").text
    assert ("the encoder was asked to" in log) == (fault == "raise")
    assert drawing.result(other).status_code == 200
    assert pids(drawing) == before and not leftovers(drawing)


def test_a_deadline_counts(drawing: RunningServer, hold: Path) -> None:
    answer = drawing.post("/generate", json={"hold": str(hold)}, headers={"Job-TTL": "1s"})
    failed = drawing.result(answer.json()["request_id"])
    assert failed.json()["error"]["type"] == "expired"


@pytest.mark.slow
def test_an_encoder_that_hangs_costs_its_job_alone_and_does_not_hold_up_the_end(serve: Serve, hold: Path) -> None:
    server = serve(DRAWING, step_timeout="2s")
    server.wait_ready()
    before = pids(server)
    job_id = written(server, hold)
    other = running(server)
    failed = server.result(job_id)
    assert (failed.status_code, failed.json()["error"]["type"]) == (500, "hang")
    assert "its output was not written" in failed.json()["error"]["message"]
    assert server.status(other)["status"] == "running" and pids(server) == before
    assert server.post(f"/cancel/{other}").status_code == 200
    assert server.result(server.submit(seed=1)).status_code == 200
    began = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_two_encoders_that_never_end_have_the_group_rebuilt(serve: Serve, hold: Path) -> None:
    server = serve(DRAWING, step_timeout="2s", cancel_timeout="1s")
    server.wait_ready()
    before = pids(server)
    two = [server.submit(hold=str(hold), seed=seed) for seed in (1, 2)]
    assert [server.result(job).json()["error"]["type"] for job in two] == ["hang", "hang"]
    assert server.result(server.submit(seed=3)).status_code == 200
    assert not set(before) & set(pids(server))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_death_while_nothing_else_runs_is_charged(serve: Serve, hold: Path, rank: int) -> None:
    server = serve(DRAWING)
    server.wait_ready()
    job_id = written(server, hold, seed=7)
    os.kill(server.rank_pid(rank), signal.SIGKILL)
    wait_until(lambda: server.status(job_id)["attempts"] == 2, 30)
    hold.unlink()
    done = server.result(job_id).json()
    assert (brightness(done), done["attempts"]) == ((7, 7, 7), 2)
    assert not leftovers(server)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_death_while_another_job_runs_is_charged_to_that(serve: Serve, hold: Path, rank: int) -> None:
    server = serve(DRAWING)
    server.wait_ready()
    first = written(server, hold, seed=7)
    second = server.submit(steps=200, delay=0.01, seed=8)
    server.wait_step(second, 1)
    os.kill(server.rank_pid(rank), signal.SIGKILL)
    wait_until(lambda: server.status(first)["phase"] is None, 30)
    hold.unlink()
    done = [server.result(job).json() for job in (first, second)]
    assert [(brightness(each)[0], each["attempts"]) for each in done] == [(7, 1), (8, 2)]


@pytest.mark.slow
def test_an_encoder_that_takes_its_rank_down_is_found_out(serve: Serve, hold: Path) -> None:
    server = serve(DRAWING)
    server.wait_ready()
    culprit = written(server, hold, fault="sigkill")
    others = [server.submit(steps=50, delay=0.01, seed=seed) for seed in range(4)]
    server.wait_step(others[0], 1)
    hold.unlink()
    error = server.result(culprit).json()["error"]
    assert error["type"] == "poison" and "while the output was written" in error["message"]
    assert [server.result(job).status_code for job in others] == [200] * 4
    assert [server.status(job)["attempts"] for job in others] == [2, 1, 1, 1]


@pytest.mark.slow
def test_a_drain_waits_for_what_is_written(serve: Serve, hold: Path) -> None:
    server = serve(DRAWING)
    server.wait_ready()
    job_id = written(server, hold, seed=7)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.records("draining: running jobs may finish"), 10)
    assert is_written(server, job_id)
    hold.unlink()
    assert server.process.wait(20) == 0
    again = serve(DRAWING)
    done = again.result(job_id).json()
    assert (brightness(done), done["attempts"]) == ((7, 7, 7), 1)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["grace", "kill"])
def test_what_is_not_written_at_the_end_is_done_again_for_nobodys_account(serve: Serve, hold: Path, end: str) -> None:
    server = serve(DRAWING, shutdown_timeout="300ms")
    server.wait_ready()
    job_id = written(server, hold, seed=7)
    if end == "grace":
        assert server.terminate() == 0
    else:
        server.kill()
    hold.unlink()
    again = serve(DRAWING)
    again.wait_ready()
    done = again.result(job_id).json()
    assert (brightness(done), done["attempts"]) == ((7, 7, 7), 1)
    assert not leftovers(again)
