"""The order of the queue, on real ranks: classes, targets, and what is known of the time that jobs take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from serving import RunningServer
from waiting import wait_until


def submit(server: RunningServer, headers: dict[str, str] | None = None, **arguments: Any) -> str:
    """A job's id."""
    answer = server.post("/generate", json=arguments, headers=headers or {})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["request_id"]
    return job_id


def wait_for_order(server: RunningServer, *job_ids: str) -> None:
    """Return when the queue is published in this order."""
    wait_until(
        lambda: [server.status(job_id)["queue_position"] for job_id in job_ids] == list(range(len(job_ids))),
        5,
        "the order of the queue",
    )


def started_at(server: RunningServer, job_id: str) -> float:
    """When a job that succeeds began to run."""
    result = server.result(job_id)
    assert result.status_code == 200, result.text
    moment: float = result.json()["started_at"]
    return moment


def test_a_job_of_a_higher_class_overtakes_those_of_a_lower_one(counting: RunningServer) -> None:
    with counting.busy():
        low, normal, high = (submit(counting, {"Job-Priority": each}) for each in ("low", "normal", "high"))
        wait_for_order(counting, high, normal, low)
    moments = [started_at(counting, job_id) for job_id in (high, normal, low)]
    assert moments == sorted(moments)


def test_equal_jobs_start_in_the_order_in_which_they_came(counting: RunningServer) -> None:
    with counting.busy():
        jobs = [submit(counting, seed=seed, text="x" * seed) for seed in range(4)]
        wait_for_order(counting, *jobs)
    moments = [started_at(counting, job_id) for job_id in jobs]
    assert moments == sorted(moments)


def test_a_job_that_cannot_meet_its_target_yields_and_is_not_failed_for_it(counting: RunningServer) -> None:
    assert counting.result(submit(counting, steps=10, delay=0.01)).status_code == 200
    with counting.busy():
        late = submit(counting, {"Job-Target": "1s"}, steps=3000, delay=0.01)
        in_time = submit(counting, {"Job-Target": "1h"}, steps=10, delay=0.01)
        wait_for_order(counting, in_time, late)
    assert counting.result(in_time).status_code == 200
    counting.wait_step(late, 1)
    assert counting.status(late)["status"] == "running"
    counting.post(f"/cancel/{late}")
    assert counting.result(submit(counting, {"Job-Target": "1ms"})).status_code == 200


@pytest.mark.slow
def test_costs_are_learned_and_outlive_the_server(serve: Callable[..., RunningServer], counting_model: str) -> None:
    first = serve(counting_model, max_queue=1)
    first.wait_ready()
    for seed in range(8):
        assert first.result(submit(first, steps=10, delay=0.05, seed=seed)).status_code == 200
    known = wait_until(lambda: (costs := first.get("/server_status").json()["costs"])["median_error"] and costs, 5)
    assert known["shapes"] == 1
    assert known["median_error"] < 0.1
    assert first.terminate() == 0

    again = serve(counting_model, max_queue=1)
    again.wait_ready()
    with again.busy():
        queued = submit(again, steps=10, delay=0.05)
        eta = wait_until(lambda: again.status(queued)["eta_seconds"], 5, "the estimate")
        assert eta > 0.5
        refused = again.post("/generate", json={"steps": 10, "delay": 0.05})
        assert refused.status_code == 429
        assert 5 < int(refused.headers["Retry-After"]) <= 60, "the pace of what runs is known"
    assert again.result(queued).status_code == 200
