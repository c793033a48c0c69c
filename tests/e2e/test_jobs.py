"""A job's life on a real server with two gloo ranks."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import COUNTING, RunningServer
from waiting import wait_until


def test_a_job_runs_and_its_output_comes_back_in_every_form(counting: RunningServer) -> None:
    answer = counting.post("/generate", json={"seed": 7, "text": "hello"})
    assert answer.status_code == 202
    job_id = answer.json()["request_id"]
    assert answer.headers["Location"].endswith(job_id)
    result = counting.result(job_id)
    assert result.status_code == 200
    body = result.json()
    content = base64.b64decode(body["output"])
    assert content.endswith(b"hello\n")
    assert body["file_type"] == "text/plain"
    assert body["size"] == len(content)
    assert body["sha256"] == hashlib.sha256(content).hexdigest()
    assert counting.get(f"/outputs/{job_id}").content == content
    assert Path(body["output_path"]).read_bytes() == content


def test_progress_is_seen_while_a_job_runs(counting: RunningServer) -> None:
    job_id = counting.submit(steps=60, delay=0.02)
    counting.wait_step(job_id, 10)
    status = counting.status(job_id)
    assert status["status"] == "running"
    assert 10 <= status["step"] <= 60
    assert status["total_steps"] == 60
    assert status["eta_seconds"] > 0
    assert counting.result(job_id).status_code == 200


def test_an_exception_on_all_ranks_fails_the_job_and_keeps_the_group(counting: RunningServer) -> None:
    pids = [counting.rank_pid(0), counting.rank_pid(1)]
    result = counting.result(counting.submit(fail_at=2))
    assert result.status_code == 500
    assert result.json()["error"]["type"] == "ValueError"
    assert "asked to fail at step 2" in result.text
    assert "/etc/very" not in result.text
    assert "Traceback" not in result.text
    assert counting.result(counting.submit()).status_code == 200
    assert [counting.rank_pid(0), counting.rank_pid(1)] == pids


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("step", [0, 3])
def test_an_exception_on_one_rank_is_told_and_the_group_rebuilt(counting: RunningServer, rank: int, step: int) -> None:
    before = counting.rank_pid(rank)
    result = counting.result(counting.submit(fail_at=step, fail_rank=rank))
    assert result.status_code == 500
    assert result.json()["error"]["type"] == "ValueError"
    assert result.json()["error"]["rank"] == rank
    assert counting.result(counting.submit()).status_code == 200
    assert counting.rank_pid(rank) != before


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_costs_an_attempt_and_not_the_job(counting: RunningServer, rank: int) -> None:
    job_id = counting.submit(steps=40, delay=0.02)
    counting.wait_step(job_id, 5)
    os.kill(counting.rank_pid(rank), signal.SIGKILL)
    assert counting.result(job_id).status_code == 200
    assert counting.status(job_id)["attempts"] == 2


def test_a_job_that_loses_its_group_every_time_fails_after_max_attempts(counting: RunningServer) -> None:
    result = counting.result(counting.submit(fail_at=2, fail_rank=1, die=True))
    assert result.status_code == 500
    assert result.json()["error"]["type"] == "poison"
    assert counting.result(counting.submit()).status_code == 200


@pytest.mark.parametrize("rank", [-1, 1], ids=["all ranks", "rank 1"])
def test_a_transient_error_costs_an_attempt_and_not_the_job(chaos: RunningServer, rank: int, tmp_path: Path) -> None:
    job_id = chaos.submit(kind="transient", rank=rank, marker=str(tmp_path / "marker"))
    assert chaos.result(job_id).status_code == 200
    assert chaos.status(job_id)["attempts"] == 2


def test_a_transient_error_that_comes_every_time_is_the_jobs_error(chaos: RunningServer) -> None:
    pids = [chaos.rank_pid(0), chaos.rank_pid(1)]
    error = chaos.result(chaos.submit(kind="transient", rank=-1)).json()["error"]
    assert error["type"] == "TransientError"
    assert [chaos.rank_pid(0), chaos.rank_pid(1)] == pids


def test_a_rank_killed_while_idle_is_replaced(counting: RunningServer) -> None:
    before = counting.rank_pid(1)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: counting.group()["state"] == "ready" and counting.rank_pid(1) != before, 20)
    assert counting.result(counting.submit()).status_code == 200


def test_a_predictor_that_writes_nothing_is_told_so(counting: RunningServer) -> None:
    result = counting.result(counting.submit(write=False))
    assert result.status_code == 500
    assert result.json()["error"]["type"] == "output_missing"
    assert counting.result(counting.submit()).status_code == 200


def test_a_job_shows_what_it_has_used(counting: RunningServer) -> None:
    job_id = counting.submit(steps=4, delay=0.02, seed=7)
    assert counting.result(job_id).status_code == 200
    job = counting.status(job_id)
    assert job["applied"] == {"seed": 7, "width": 96, "steps": 4, "ranks": 2}
    assert job["model"] == "counting"
    assert job["peak_memory"] is None or 2**20 < job["peak_memory"] < 2**36
    phases = job["timings"].pop("phases")
    assert (phases.pop("encode_prompt"), phases.pop("decode")) == (None, None)
    assert all(seconds >= 0 for seconds in phases.values()), phases
    assert phases["denoise"] >= 0.08 and phases["queue"] == job["timings"]["queued_seconds"]
    assert sum(phases.values()) <= job["timings"]["queued_seconds"] + job["timings"]["run_seconds"]


def test_ranks_that_have_used_different_values_fail_the_job_and_are_kept(counting: RunningServer) -> None:
    pids = [counting.rank_pid(0), counting.rank_pid(1)]
    result = counting.result(counting.submit(differ="lora"))
    assert result.status_code == 500, result.text
    error = result.json()["error"]
    assert (error["type"], error["message"]) == ("applied_mismatch", "rank 1 used lora 1, and rank 0 lora 0")
    assert counting.result(counting.submit()).status_code == 200
    assert [counting.rank_pid(0), counting.rank_pid(1)] == pids


def test_a_job_with_several_outputs_gives_each_of_them(counting: RunningServer) -> None:
    job_id = counting.submit(further=True, seed=5)
    assert counting.result(job_id).status_code == 200
    outputs = counting.status(job_id)["outputs"]
    assert [(each["role"], each["file_type"]) for each in outputs] == [
        ("output", "text/plain"),
        ("chart", "image/png"),
        ("notes", "text/plain"),
    ]
    assert [(each["width"], each["height"], each["duration"]) for each in outputs][1:] == [(40, 30, None), (None,) * 3]
    for index, output in enumerate(outputs):
        answer = counting.get(f"/outputs/{job_id}/{index}")
        assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, output["file_type"])
        assert hashlib.sha256(answer.content).hexdigest() == output["sha256"]
        assert Path(output["output_path"]).read_bytes() == answer.content
    assert counting.get(f"/outputs/{job_id}").content == Path(outputs[0]["output_path"]).read_bytes()
    assert counting.get(f"/outputs/{job_id}/2").content == b"notes of 5"
    for wrong in ("3", "-1", "x", "00003"):
        assert counting.get(f"/outputs/{job_id}/{wrong}").status_code == 404
    assert not list(Path(outputs[0]["output_path"]).parent.glob(".*")), "the job's folder is gone"


def test_an_output_that_was_named_and_not_written_fails_the_job_and_leaves_nothing(counting: RunningServer) -> None:
    job_id = counting.submit(further=True, miss=True)
    result = counting.result(job_id)
    assert result.status_code == 500, result.text
    error = result.json()["error"]
    assert error["type"] == "output_missing"
    assert f"wrote no file at {job_id}-2.txt, which self.output_path() has named" in error["message"]
    folder = Path(counting.status(counting.submit()).get("output_path") or "/nowhere").parent
    assert not list(folder.glob(f"*{job_id}*"))


def test_the_queue_is_where_the_setting_says(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    database = tmp_path / "elsewhere" / "queue.db"
    database.parent.mkdir()
    server = serve(COUNTING, num_devices=1, store=f"sqlite:///{database}")
    server.wait_ready()
    assert server.result(server.submit(seed=1)).status_code == 200
    assert database.exists() and not (tmp_path / "state" / "jobs.sqlite3").exists()
