"""Logs of a whole server: a job's own, within their bounds, and the server's, of which every line is JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import RunningServer, shared_server
from waiting import wait_until

TALKING = f"{Path(__file__).parents[1] / 'predictors' / 'talking.py'}:TalkingPredictor"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Takes two seconds of silence for a hang."""
    settings = {"step_timeout": "2s", "min_step_timeout": "1s", "max_attempts": 1}
    yield from shared_server(TALKING, tmp_path_factory.mktemp("talking"), **settings)


def records(server: RunningServer) -> list[dict[str, Any]]:
    """The server's log: every line of stdout and stderr is a JSON object."""
    parsed = [json.loads(line) for line in server.log().splitlines()]
    assert all(isinstance(record, dict) and "event" in record for record in parsed)
    return parsed


def job_log(server: RunningServer, how: str) -> tuple[int, list[str]]:
    """Runs such a job; the status of its result, and its log."""
    job_id = server.submit(how=how)
    status = server.result(job_id).status_code
    return status, server.get(f"/jobs/{job_id}/log").text.splitlines()


def test_a_flood_of_lines_costs_lines_and_not_the_job(server: RunningServer) -> None:
    status, lines = job_log(server, "flood")
    assert status == 200
    numbers = [int(line.split()[0]) for line in lines if not line.startswith("...")]
    assert numbers == sorted(numbers) and numbers[0] == 0 and numbers[-1] == 19_999
    left_out = sum(int(line.split()[1]) for line in lines if line.startswith("..."))
    assert len(numbers) + left_out == 20_000 and len(lines) <= 2_001


def test_lines_keep_a_job_alive_that_makes_no_step_for_a_while(server: RunningServer) -> None:
    """Longer than the time of its steps, but not than --step-timeout without one, which lines do not extend."""
    status, lines = job_log(server, "slow")
    assert status == 500 and lines[0] == "layer 0" and len(lines) >= 4, "a job that only talks ends as hung"
    assert server.records("run is stuck")


def test_a_failed_jobs_log_ends_with_the_traceback_and_its_answer_has_none(server: RunningServer) -> None:
    job_id = server.submit(how="fail")
    answer = server.result(job_id)
    assert answer.status_code == 500 and "Traceback" not in answer.text and "talking.py" not in answer.text
    log = server.get(f"/jobs/{job_id}/log").text
    assert log.startswith("about to fail\nRank ") and "Traceback (most recent call last)" in log
    assert 'File "talking.py", line' in log and log.endswith("newline in weights.bin\n")
    assert "/" not in log.replace("in /", "")


def test_what_a_rank_logged_before_it_died_is_there(server: RunningServer) -> None:
    assert job_log(server, "die") == (500, ["last words"])


def test_whatever_is_printed_every_line_of_the_servers_log_is_json(server: RunningServer) -> None:
    assert job_log(server, "talk") == (200, [])
    to_streams = ("printed", "printed to stderr", "without an end", "by a handler of its own")
    ways = (*to_streams, "past Python", "from C", "by a child", "\ufffd bytes")
    for where in ("setup", "predict"):
        texts = {f"{where}: {way}" for way in ways}
        wait_until(lambda texts=texts: texts <= {r.get("text") for r in records(server)}, 10, str(texts))
        events = "\n".join(record["event"] for record in records(server))
        for way in ("warned", 'logged "quoted"'):
            assert f"{where}: {way}" in events
    printed = [record for record in records(server) if record.get("text") == "predict: printed"]
    assert {record["process"] for record in printed} == {"group 0 rank 0", "group 0 rank 1"}
    assert {record["stream"] for record in printed} == {"stdout"}
    (failed, *_) = [record for record in records(server) if record["event"] == "uncaught exception in a thread"]
    assert "ZeroDivisionError" in failed["exception"]


def test_a_jobs_life_is_in_the_log_under_its_requests_name(server: RunningServer) -> None:
    answer = server.post("/generate", json={}, headers={"X-Request-Id": "from-the-test"})
    job_id = answer.json()["request_id"]
    server.result(job_id)
    ended = wait_until(lambda: [r for r in server.records("job ended") if r["job"] == job_id], 10, "its end")
    mine = [record for record in records(server) if record.get("job") == job_id]
    life = [record["event"] for record in mine if record["event"].startswith("job ")]
    assert sorted(life) == ["job accepted", "job ended", "job started"]
    assert life.index("job started") < life.index("job ended"), "a web worker's own line may be the later one"
    assert {record["request_id"] for record in mine} == {"from-the-test"}
    assert ended[0]["status"] == "succeeded" and ended[0]["attempt"] == 1 and ended[0]["duration_s"] < 60


def test_every_line_about_a_failed_job_has_its_requests_name(server: RunningServer) -> None:
    answer = server.post("/generate", json={"how": "fail"}, headers={"X-Request-Id": "of-a-failure"})
    job_id = answer.json()["request_id"]
    assert server.result(job_id).status_code == 500
    wait_until(lambda: [r for r in server.records("job ended") if r["job"] == job_id], 10, "its end")
    mine = [record for record in records(server) if record.get("job") == job_id]
    assert {"job failed on this rank", "rank failed", "job ended"} <= {record["event"] for record in mine}
    assert {record.get("request_id") for record in mine} == {"of-a-failure"}


def test_a_server_that_cannot_start_says_so_in_json(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    server = serve(TALKING)
    assert server.process.wait(60) == 5
    assert "state" in records(server)[-1]["reason"]
