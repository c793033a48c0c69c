"""GET /jobs, GET /jobs/<id> and DELETE /jobs/<id>."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from runs import run_of
from waiting import wait_until
from web import Web

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Output, Result

UNKNOWN = "0123456789abcdef" * 2
ERROR = JobError("ValueError", "too blue", rank=1)


def listed(web: Web, **query: Any) -> list[str]:
    answer = web.get("/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return [job["request_id"] for job in answer.json()["jobs"]]


def test_the_newest_job_comes_first_with_its_status(web: Web) -> None:
    done, queued = web.done(), web.submit()
    running = web.started()
    web.controller.step(running, 3, 20)
    wait_until(lambda: web.get("/jobs", params={"limit": 1}).json()["jobs"][0]["step"] == 3, 5, "the live step")
    jobs = web.get("/jobs", params={"limit": 3}).json()["jobs"]
    assert [job["request_id"] for job in jobs] == [running, queued, done]
    assert [job["status"] for job in jobs] == ["running", "queued", "succeeded"]
    assert jobs[2]["output_url"] == f"/outputs/{done}" and jobs[0]["output_url"] is None
    assert web.get(jobs[2]["outputs"][0]["url"]).content == b"picture"
    status = web.get(f"/request_status/{queued}").json()
    assert {name: jobs[1][name] for name in status} == status
    assert "arguments" not in jobs[0]


def test_pages_follow_each_other_to_the_end(web: Web) -> None:
    made = [web.submit() for _ in range(5)]
    since = web.job(made[0]).created_at - 1e-6
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2, "created_after": f"{since:.6f}"}
    while True:
        page = web.get("/jobs", params=query).json()
        seen += [job["request_id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == made[::-1]


def test_filters_hold_together(web: Web) -> None:
    before = time.time()
    failed, queued = web.started(), web.submit()
    web.controller.fail(failed, ERROR)
    since = {"created_after": before}
    assert listed(web, status="failed", **since) == [failed]
    assert listed(web, model="stand-in", owner="anonymous", **since) == [queued, failed]
    assert listed(web, model="other") == listed(web, owner="ann") == []
    assert listed(web, created_before=web.job(queued).created_at, **since) == [failed]
    moment = datetime.fromtimestamp(before - 1, UTC).isoformat()
    assert listed(web, created_after=moment, limit=2) == [queued, failed]
    assert failed not in listed(web, created_before=moment)
    (job,) = web.get("/jobs", params={"status": "failed", **since}).json()["jobs"]
    assert job["error"] == ERROR.as_dict()


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("status=done", "status"),
        ("status=failed&status=queued", "status"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2030-01-31", "created_before"),
        ("cursor=", "cursor"),
        ("cursor=!!", "cursor"),
        ("cursor=%C3%BC", "cursor"),
        ("cursor=bmFuIDE", "cursor"),
        ("state=failed", "state"),
    ],
)
def test_a_query_that_is_wrong_names_what(web: Web, query: str, parameter: str) -> None:
    answer = web.get(f"/jobs?{query}")
    assert answer.status_code == 400
    assert [field["parameter"] for field in answer.json()["errors"]] == [parameter]


# --- one job ---


def test_all_of_a_job(web: Web) -> None:
    job_id = web.started(width=64, seed=3)
    web.controller.requeue(job_id)
    web.controller.start(job_id)
    files = [web.settings.output_dir / f"{name}.png" for name in "ab"]
    outputs = tuple(Output(str(file), "image/png", 1, "ab" * 32) for file in files)
    store = web.controller.store
    store.succeed(job_id, Result(outputs, {"steps": 4}, {}, 7), time.time(), run=run_of(store, job_id))
    job = web.get(f"/jobs/{job_id}").json()
    assert job["arguments"] == {"prompt": "a", "width": 64, "steps": 20, "anything": None, "seed": 3}
    assert (job["model"], job["owner"], job["applied"], job["attempts"]) == ("stand-in", "anonymous", {"steps": 4}, 2)
    assert [event["type"] for event in job["history"]] == ["queued", "started", "requeued", "started", "succeeded"]
    assert job["history"][2]["data"] == {"cause": "rank lost", "charged": True}
    assert [output["url"] for output in job["outputs"]] == [f"/outputs/{job_id}/0", f"/outputs/{job_id}/1"]
    result = web.get(f"/request_status/{job_id}").json()
    assert {name: job[name] for name in ("output_url", "outputs", "timings")} == {
        name: result[name] for name in ("output_url", "outputs", "timings")
    }


def test_a_job_that_failed_is_200_here_and_500_where_its_output_is_asked_for(web: Web) -> None:
    job_id = web.started()
    web.controller.fail(job_id, ERROR)
    answer = web.get(f"/jobs/{job_id}")
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "failed", ERROR.as_dict())
    assert web.get(f"/request_status/{job_id}").status_code == 500


def test_a_deadline_is_shown_as_it_was_given(web: Web) -> None:
    answer = web.post("/generate", json={"prompt": "a"}, headers={"Job-TTL": "1h"})
    job = web.get(f"/jobs/{answer.json()['request_id']}").json()
    assert job["deadline_at"] == pytest.approx(job["created_at"] + 3600, abs=2)


@pytest.mark.parametrize("job_id", [UNKNOWN, "zz", "A"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_job_that_is_not_there_is_404(web: Web, method: str, job_id: str) -> None:
    answer = web.ask(method, f"/jobs/{job_id}")
    assert answer.status_code == 404 and answer.json()["type"].endswith(":job-not-found")


# --- DELETE ---


def test_a_deleted_job_leaves_nothing(web: Web) -> None:
    job_id = web.done()
    file = Path(web.job(job_id).outputs[0].path)
    assert file.exists()
    assert web.ask("DELETE", f"/jobs/{job_id}").json() == {"request_id": job_id, "deleted": True}
    assert not file.exists() and web.controller.store.events(job_id) == []
    for path in (f"/jobs/{job_id}", f"/request_status/{job_id}", f"/outputs/{job_id}", f"/jobs/{job_id}/log"):
        assert web.get(path).status_code == 404
    assert web.ask("DELETE", f"/jobs/{job_id}").status_code == 404


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_under_way_is_not_deleted(web: Web, state: str) -> None:
    job_id = web.submit() if state == "queued" else web.started()
    answer = web.ask("DELETE", f"/jobs/{job_id}")
    assert answer.status_code == 409
    assert answer.json()["type"].endswith(":job-active") and "cancel it first" in answer.json()["detail"]
    web.controller.cancel(job_id)
    assert web.ask("DELETE", f"/jobs/{job_id}").status_code == 200


def test_a_file_that_another_job_has_put_in_its_place_stays(web: Web) -> None:
    first, second = (web.started(output_path="shared.png") for _ in range(2))
    web.controller.succeed(first, b"first")
    web.controller.succeed(second, b"second")
    assert web.ask("DELETE", f"/jobs/{first}").status_code == 200
    assert web.get(f"/outputs/{second}").content == b"second"


def test_a_key_is_free_again_when_its_job_is_deleted(web: Web) -> None:
    headers = {"Idempotency-Key": "again"}
    job_id = web.post("/generate", json={"prompt": "a"}, headers=headers).json()["request_id"]
    web.controller.cancel(job_id)
    web.ask("DELETE", f"/jobs/{job_id}")
    assert web.post("/generate", json={"prompt": "b"}, headers=headers).json()["request_id"] != job_id


def test_a_page_of_another_origin_may_not_delete(web: Web) -> None:
    job_id = web.done()
    assert web.ask("DELETE", f"/jobs/{job_id}", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert web.get(f"/jobs/{job_id}").status_code == 200
