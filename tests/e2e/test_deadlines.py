"""Job-TTL and Job-Deadline: what comes too late is not drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from serving import RunningServer


def post(server: RunningServer, headers: dict[str, str], **body: object) -> httpx.Response:
    return server.post("/generate", json=body, headers=headers)


def test_a_queued_job_past_its_deadline_fails_without_running(counting: RunningServer) -> None:
    blocker = counting.submit(steps=100000, delay=0.01)
    job_id = post(counting, {"Job-TTL": "300ms"}).json()["request_id"]
    result = counting.result(job_id)
    assert result.status_code == 500
    assert result.json()["error"]["type"] == "expired"
    assert result.json()["attempts"] == 0
    assert counting.post(f"/cancel/{blocker}").status_code == 200


def test_a_running_job_past_its_deadline_is_left_at_the_next_step_and_the_group_kept(counting: RunningServer) -> None:
    pid = counting.rank_pid(0)
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    job_id = post(counting, {"Job-Deadline": soon}, steps=100000, delay=0.01).json()["request_id"]
    result = counting.result(job_id)
    assert result.status_code == 500
    assert result.json()["error"]["type"] == "expired"
    assert counting.result(counting.submit()).status_code == 200
    assert counting.rank_pid(0) == pid


def test_a_job_done_in_time_is_done(counting: RunningServer) -> None:
    assert counting.result(post(counting, {"Job-TTL": "1m"}).json()["request_id"]).status_code == 200


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Job-TTL": "soon"}, "must be a duration"),
        ({"Job-TTL": "0"}, "longer than 0"),
        ({"Job-Deadline": "2030-01-01"}, "RFC 3339"),
        ({"Job-Deadline": "2001-01-01T00:00:00Z"}, "in the future"),
        ({"Job-TTL": "1s", "Job-Deadline": "2030-01-01T00:00:00Z"}, "together"),
    ],
)
def test_a_wrong_header_is_named(counting: RunningServer, headers: dict[str, str], words: str) -> None:
    answer = post(counting, headers)
    assert answer.status_code == 400
    assert words in answer.text
    assert next(iter(headers)) in answer.text
