"""Idempotency-Key: one request, one job, over repeats, restarts and races."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from serving import RunningServer


def post(server: RunningServer, key: str, **body: object) -> httpx.Response:
    return server.post("/generate", json=body, headers={"Idempotency-Key": key})


def test_the_same_key_and_body_are_the_same_job_also_after_a_restart(
    serve: Callable[..., RunningServer], counting_model: str
) -> None:
    server = serve(counting_model)
    server.wait_ready()
    first = post(server, "a", text="one")
    again = post(server, "a", text="one")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json(), "though the seed was drawn anew"
    job_id = first.json()["request_id"]
    assert server.result(job_id).status_code == 200
    assert server.terminate() == 0
    restarted = serve(counting_model)
    assert post(restarted, "a", text="one").json()["request_id"] == job_id, "even before the model is ready"
    restarted.wait_ready()
    assert restarted.get("/server_status").json()["queue"]["succeeded"] == 1


def test_the_same_key_with_another_body_is_422_and_names_the_job(counting: RunningServer) -> None:
    job_id = post(counting, "b", text="one").json()["request_id"]
    conflict = post(counting, "b", text="two")
    assert conflict.status_code == 422
    assert job_id in conflict.json()["detail"]


def test_concurrent_duplicates_make_one_job(counting: RunningServer) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(counting, "c", text="same"), range(48)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["request_id"] for answer in answers}) == 1


def test_a_refused_request_does_not_use_its_key_up(counting: RunningServer) -> None:
    assert post(counting, "d", steps=0).status_code == 400
    assert post(counting, "d", steps=1).status_code == 202


def test_a_key_that_is_none_is_named(counting: RunningServer) -> None:
    answer = post(counting, "x" * 256)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.text
