"""POST /generate that waits: the result in the same response, as JSON or as the file itself."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from waiting import wait_until
from web import Web

from para_attn_server.core.errors import JobError

BODY = {"prompt": "a"}


@pytest.fixture
def later() -> Iterator[Callable[[Web, Callable[[str], Any]], Future[str]]]:
    """Does something to the next job that is submitted, as soon as it runs."""
    with ThreadPoolExecutor() as threads:

        def plan(web: Web, action: Callable[[str], Any]) -> Future[str]:
            known = len(web.controller.submitted)

            def act() -> str:
                wait_until(lambda: len(web.controller.submitted) > known, 10, "a job")
                job_id = web.controller.submitted[-1]
                web.controller.start(job_id)
                action(job_id)
                return job_id

            return threads.submit(act)

        yield plan


@pytest.mark.parametrize(
    ("query", "prefer"), [("?wait=20", None), ("", "wait=20"), ("", "wait"), ("", 'respond-async, wait="20"; x=1')]
)
def test_the_result_comes_with_the_response(web: Web, later: Any, query: str, prefer: str | None) -> None:
    done = later(web, web.controller.succeed)
    answer = web.post(f"/generate{query}", json=BODY, headers={} if prefer is None else {"Prefer": prefer})
    job_id = done.result(5)
    assert answer.status_code == 200
    assert answer.json() == web.get(f"/get_output/{job_id}").json()
    assert b64decode(answer.json()["output"]) == b"picture"
    assert answer.headers["location"] == f"/get_output/{job_id}"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/*", "image/png"),
        ("image/png", "image/png"),
        ("application/json;q=0.5, image/png", "image/png"),
        ("image/png;q=0.5, application/json", "application/json"),
        ("*/*", "application/json"),
        ("image/jpeg", "application/json"),
        ("nonsense", "application/json"),
    ],
)
def test_the_file_itself_comes_where_its_media_type_is_asked_for(
    web: Web, later: Any, accept: str, media_type: str
) -> None:
    done = later(web, lambda job_id: web.controller.succeed(job_id, b"the bytes"))
    answer = web.post("/generate", json=BODY, params={"wait": 20}, headers={"Accept": accept})
    job_id = done.result(5)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    if media_type == "image/png":
        assert answer.content == b"the bytes"
        assert answer.headers["content-location"] == f"/outputs/{job_id}/0"
        assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["location"] == f"/get_output/{job_id}"


def test_a_job_that_has_not_ended_in_time_is_accepted_as_ever(web: Web) -> None:
    began = time.monotonic()
    answer = web.post("/generate", json=BODY, params={"wait": 0.3}, headers={"Accept": "image/*"})
    assert answer.status_code == 202 and time.monotonic() - began >= 0.3
    assert answer.json() == {"request_id": answer.headers["location"].rpartition("/")[2]}
    assert answer.headers["retry-after"] == "1"


def test_a_job_without_an_output_is_a_problem(web: Web, later: Any) -> None:
    done = later(web, lambda job_id: web.controller.fail(job_id, JobError("ValueError", "too blue")))
    answer = web.post("/generate", json=BODY, params={"wait": 20}, headers={"Accept": "image/*"})
    assert (answer.status_code, answer.json()["detail"]) == (500, "too blue")
    assert answer.json()["request_id"] == done.result(5)
    done = later(web, web.controller.cancel)
    answer = web.post("/generate", json=BODY, params={"wait": 20})
    assert (answer.status_code, answer.json()["request_id"]) == (410, done.result(5))


@pytest.mark.parametrize("wait", ["-1", "61", "soon", ""])
def test_a_wait_that_is_none_makes_no_job(web: Web, wait: str) -> None:
    answer = web.post("/generate", json=BODY, params={"wait": wait})
    assert answer.status_code == 400 and answer.json()["errors"][0]["parameter"] == "wait"
    assert web.controller.store.queued(1) == []


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-3", "respond-async", "waiting=5", "wait=0", "handling=lenient"])
def test_a_preference_that_makes_no_sense_is_left_out(web: Web, prefer: str) -> None:
    began = time.monotonic()
    assert web.post("/generate", json=BODY, headers={"Prefer": prefer}).status_code == 202
    assert time.monotonic() - began < 5


def test_a_repeated_request_waits_for_the_job_that_it_was(web: Web, later: Any) -> None:
    done = later(web, web.controller.succeed)
    headers = {"Idempotency-Key": "once"}
    first = web.post("/generate", json=BODY, headers=headers)
    answer = web.post("/generate", json=BODY, params={"wait": 20}, headers=headers)
    assert answer.json()["request_id"] == first.json()["request_id"] == done.result(5)
    assert answer.status_code == 200


def test_all_who_wait_share_one_budget(tmp_path: Path) -> None:
    web = Web(tmp_path, web_workers=1, web_connections=10)  # eight may wait
    try:
        job_id = web.submit()
        url = str(web.client.base_url)
        with ThreadPoolExecutor(9) as threads:
            polls = [threads.submit(httpx.get, f"{url}/get_output/{job_id}?wait=8", timeout=20) for _ in range(9)]
            wait_until(lambda: any(poll.done() for poll in polls), 5, "one who may not wait")
            answer = web.post("/generate?wait=5", json=BODY)
            assert answer.status_code == 202 and answer.elapsed.total_seconds() < 4
            web.controller.cancel(job_id)
            assert sorted(poll.result().status_code for poll in polls) == [202, *[410] * 8]
    finally:
        web.close()
