"""Submitting, looking at and waiting for jobs in the native dialect, from the real web processes."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from runs import run_of
from stand_in import pool_view
from waiting import wait_until
from web import Web

from para_attn_server.core.errors import JobError
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import GroupState, GroupView, QueueView, RankView

UNKNOWN = "0123456789abcdef" * 2
JSON = {"content-type": "application/json"}


def fields(answer: Any) -> dict[str, str]:
    """What a 400 says of each wrong argument."""
    return {field["pointer"]: field["detail"] for field in answer.json()["errors"]}


# --- POST /generate ---


def test_a_request_becomes_a_job_that_the_controller_is_told_of(web: Web) -> None:
    answer = web.post("/generate", json={"prompt": "a", "width": 64})
    assert answer.status_code == 202
    job_id = answer.json()["request_id"]
    assert answer.json() == {"request_id": job_id}
    assert answer.headers["location"] == f"/get_output/{job_id}"
    assert answer.headers["retry-after"] == "1"
    wait_until(lambda: job_id in web.controller.submitted, 5)
    job, arguments = web.job(job_id), web.controller.store.arguments(job_id)
    seed = job.seed
    assert arguments == {"prompt": "a", "width": 64, "steps": 20, "anything": None, "seed": seed}
    assert 0 <= seed < 2**32
    day = time.strftime("%Y/%m/%d", time.gmtime(job.created_at))
    assert job.output_path == str(web.settings.output_dir.resolve() / day / f"{job_id}.png")


def test_the_output_may_be_named(web: Web) -> None:
    job = web.job(web.submit(output_path="mine.png"))
    assert job.output_path == str(web.settings.output_dir.resolve() / "mine.png")
    assert "output_path" not in web.controller.store.arguments(job.id)


def test_each_wrong_argument_is_named(web: Web) -> None:
    answer = web.post("/generate", json={"width": 65, "stepz": 3})
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:para-attn-server:problem:invalid-input"
    said = fields(answer)
    assert set(said) == {"#/prompt", "#/width", "#/stepz"}
    assert said["#/width"] == "must be an integer from 64 to 256, a multiple of 16, not 65"
    assert "did you mean steps?" in said["#/stepz"]


@pytest.mark.parametrize("path", ["/tmp/a.png", "../a.png", "nowhere/a.png", "", "a\x00.png", ".hidden", "x" * 300])
def test_an_output_path_that_leads_elsewhere_is_refused(web: Web, path: str) -> None:
    answer = web.post("/generate", json={"prompt": "a", "output_path": path})
    assert answer.status_code == 400
    assert list(fields(answer)) == ["#/output_path"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"3",
        b'"a"',
        b"null",
        b"{",
        b'{"prompt": "a"} x',
        b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b'{"prompt": "a", "width": NaN}',
        b'{"prompt": "a", "anything": Infinity}',
        b'{"prompt": "a", "anything": ' + b"9" * 5000 + b"}",
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "anything": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"prompt": "a", "anything": ' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}",
    ],
)
def test_a_body_that_is_no_sound_json_object_is_refused(web: Web, body: bytes) -> None:
    assert web.post("/generate", content=body, headers=JSON).status_code == 400
    assert web.get("/healthz").status_code == 200


def test_a_body_that_is_not_declared_as_json_is_refused(web: Web) -> None:
    assert web.post("/generate", content=b'{"prompt": "a"}').status_code == 415
    answer = web.post("/generate", data={"prompt": "a"})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]
    vendor = {"content-type": "application/vnd.x+json; charset=utf-8"}
    assert web.post("/generate", content=b'{"prompt": "a"}', headers=vendor).status_code == 202


def test_a_body_too_large_is_refused_also_without_a_length(web: Web) -> None:
    body = json.dumps({"prompt": "a" * 200_000}).encode()
    for content in (body, iter([body[:50_000], body[50_000:]])):
        answer = web.post("/generate", content=content, headers=JSON)
        assert answer.status_code == 413
        assert "--max-body" in answer.json()["detail"]
    chunked = web.post("/generate", content=iter([b'{"prompt"', b': "a"}']), headers=JSON)
    assert chunked.status_code == 202


def test_without_a_known_schema_nothing_is_taken(web: Web) -> None:
    web.put_schema(None)
    wait_until(lambda: web.get("/readyz").status_code == 503, 5)
    answer = web.post("/generate", json={"prompt": "a"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "being loaded" in answer.json()["detail"]
    assert web.get("/schema").status_code == 503


def test_a_broken_pool_takes_nothing_and_says_why(web: Web) -> None:
    ranks = [RankView(0, None, None)]
    group = GroupView(0, GroupState.BROKEN, 1.0, ranks, cause="setup() failed three times", model="stand-in")
    web.controller.show(pool_view(groups=[group]))
    wait_until(lambda: web.get("/readyz").status_code == 503, 5)
    answer = web.post("/generate", json={"prompt": "a"})
    assert answer.status_code == 503
    assert "setup() failed three times" in answer.json()["detail"]
    assert "retry-after" in answer.headers
    status = web.get("/server_status")
    assert status.status_code == 500
    assert status.json()["detail"] == "setup() failed three times"
    assert status.json()["server"]["groups"][0]["state"] == "broken"


def test_one_broken_group_of_two_is_no_reason(web: Web) -> None:
    states = (GroupState.BROKEN, GroupState.RECOVERING)
    groups = [GroupView(index, state, 1.0, [], model="stand-in") for index, state in enumerate(states)]
    web.controller.show(pool_view(groups=groups))
    wait_until(lambda: len(web.get("/server_status").json()["groups"]) == 2, 5)
    assert web.submit()


def test_a_stopping_server_takes_nothing(web: Web) -> None:
    web.controller.show(pool_view(stopping=True))
    wait_until(lambda: web.get("/readyz").status_code == 503, 5)
    answer = web.post("/generate", json={"prompt": "a"})
    assert answer.status_code == 503
    assert answer.json()["detail"] == "the server is stopping"


@pytest.mark.parametrize("how", ["stopped", "gone"])
def test_without_a_living_controller_it_is_not_ready_within_five_seconds_and_still_accepts(web: Web, how: str) -> None:
    if how == "gone":
        web.controller.vanish()
    web.controller.beats = False
    wait_until(lambda: web.get("/readyz").status_code == 503, 5)
    assert web.get("/readyz").json()["detail"] == "the controller does not respond"
    assert web.get("/server_status").json()["type"].endswith("pool-down")
    assert web.post("/generate", json={"prompt": "a"}).status_code == 202
    if how == "gone":
        web.new_controller()
    web.controller.beats = True
    wait_until(lambda: web.get("/readyz").status_code == 200, 5)


def test_a_full_queue_refuses_with_429(tmp_path: Path) -> None:
    web = Web(tmp_path, max_queue=2)
    try:
        first, _ = web.submit(), web.submit()
        answer = web.post("/generate", json={"prompt": "a"})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "5", "nothing is known"
        web.controller.show_queue(QueueView([first], [None], next_start=steady() + 30))
        wait_until(lambda: web.post("/generate", json={"prompt": "a"}).headers["retry-after"] in ("29", "30"), 5)
        web.controller.start(first)
        web.submit()
    finally:
        web.close()


# --- looking at jobs ---


@pytest.mark.parametrize("route", ["get_output", "request_status", "outputs"])
@pytest.mark.parametrize("job_id", [UNKNOWN, "zz", "a" * 65, "ABCDEF", "%2e%2e", "a b"])
def test_an_unknown_id_is_404(web: Web, route: str, job_id: str) -> None:
    assert web.get(f"/{route}/{job_id}").status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("route", ["get_output", "request_status"])
def test_the_stages_of_a_job(web: Web, route: str, method: str) -> None:
    first, second = web.submit(), web.submit()
    assert web.ask(method, f"/{route}/{second}").json()["queue_position"] is None, "not planned yet"
    web.controller.show_queue(QueueView([first, second], [steady() + 4, steady() + 8]))
    wait_until(lambda: web.ask(method, f"/{route}/{second}").json()["queue_position"] == 1, 5)
    queued = web.ask(method, f"/{route}/{second}")
    assert queued.status_code == 202
    assert queued.headers["retry-after"] == "1"
    body = queued.json()
    assert (body["request_id"], body["status"], body["queue_position"]) == (second, "queued", 1)
    assert (body["step"], body["total_steps"], body["started_at"]) == (0, None, None)
    assert 0 < body["eta_seconds"] <= 8

    web.controller.start(first)
    web.controller.step(first, 5, 20)
    running = wait_until(lambda: (b := web.ask(method, f"/{route}/{first}").json())["step"] == 5 and b, 5)
    assert (running["status"], running["total_steps"], running["queue_position"]) == ("running", 20, None)
    assert (running["attempts"], running["seed"]) == (1, web.job(first).seed)
    elapsed = time.time() - running["started_at"]
    assert 0 <= running["eta_seconds"] <= 3 * elapsed + 0.1
    web.controller.show_queue(QueueView([second], [None]))
    wait_until(lambda: web.ask(method, f"/{route}/{second}").json()["queue_position"] == 0, 5)

    web.controller.succeed(first, b"bytes")
    done = web.ask(method, f"/{route}/{first}?wait=5")
    assert done.status_code == 200
    body = done.json()
    assert ("output" in body) == (route == "get_output")
    assert body["status"] == "succeeded"
    assert body["file_type"] == "image/png"
    assert body["output_path"] == web.job(first).output_path
    assert body["output_url"] == f"/outputs/{first}"
    assert (body["size"], body["sha256"]) == (5, hashlib.sha256(b"bytes").hexdigest())
    assert body["seed"] == web.job(first).seed
    assert Path(body["output_path"]).parents[3] == Path(web.job(first).output_root or "")
    (only,) = body["outputs"]
    assert only == {name: body[name] for name in ("file_type", "output_path", "size", "sha256")} | {
        "role": "output",
        "url": f"/outputs/{first}/0",
        **dict.fromkeys(("width", "height", "duration")),
    }
    timings = body["timings"]
    assert timings["run_seconds"] == pytest.approx(timings["finished_at"] - timings["started_at"], abs=1e-3)
    assert timings["queued_seconds"] == pytest.approx(timings["started_at"] - timings["created_at"], abs=1e-3)


@pytest.mark.parametrize("route", ["get_output", "request_status", "outputs"])
def test_a_canceled_job_is_gone(web: Web, route: str) -> None:
    job_id = web.submit()
    web.controller.cancel(job_id)
    answer = web.get(f"/{route}/{job_id}")
    assert answer.status_code == 410
    assert (answer.json()["request_id"], answer.json()["seed"]) == (job_id, web.job(job_id).seed)


@pytest.mark.parametrize("route", ["get_output", "request_status", "outputs"])
def test_a_failed_job_says_why(web: Web, route: str) -> None:
    job_id = web.started()
    web.controller.fail(job_id, JobError("out_of_memory", "the device is full", rank=1, step=3, hint="lower width"))
    answer = web.get(f"/{route}/{job_id}")
    assert answer.status_code == 500
    body = answer.json()
    assert body["detail"] == "the device is full"
    assert (body["request_id"], body["seed"]) == (job_id, web.job(job_id).seed)
    assert body["error"] == {
        "type": "out_of_memory",
        "message": "the device is full",
        "rank": 1,
        "step": 3,
        "hint": "lower width",
    }


def test_a_requeued_job_is_shown_as_it_is_now(web: Web) -> None:
    job_id = web.started()
    web.controller.step(job_id, 7, 20)
    wait_until(lambda: web.get(f"/request_status/{job_id}").json()["step"] == 7, 5)
    web.controller.requeue(job_id)
    wait_until(lambda: web.get(f"/request_status/{job_id}").json()["status"] == "queued", 5)
    web.controller.start(job_id)
    body = wait_until(lambda: (b := web.get(f"/request_status/{job_id}").json())["status"] == "running" and b, 5)
    assert (body["step"], body["attempts"]) == (0, 2)


def test_without_news_the_store_is_asked(web: Web) -> None:
    job_id = web.started()
    web.new_controller()
    web.controller.store.progress(job_id, 3, 9, time.time(), run=run_of(web.controller.store, job_id))
    assert web.get(f"/request_status/{job_id}").json()["step"] == 3


# --- ?wait ---


@pytest.mark.parametrize("wait", ["-1", "61", "x", "nan", "inf", "", "1e9", "1_0", "+1", "\uff11", " 1", ["1", "2"]])
def test_a_wait_out_of_range_is_refused(web: Web, wait: str | list[str]) -> None:
    answer = web.get(f"/get_output/{web.submit()}", params={"wait": wait})
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"detail": "must be a number of seconds from 0 to 60", "parameter": "wait"}]


def test_a_wait_ends_with_the_job(web: Web) -> None:
    job_id = web.started()
    ended: list[float] = []

    def finish() -> None:
        wait_until(lambda: web.controller.links, 5)
        web.controller.succeed(job_id)
        ended.append(time.monotonic())

    timer = threading.Timer(0.3, finish)
    timer.start()
    answer = web.get(f"/get_output/{job_id}?wait=30")
    answered = time.monotonic()
    timer.join()
    assert answer.status_code == 200
    assert answered - ended[0] < 1.0  # woken, not polled


def test_a_wait_ends_with_its_time(web: Web) -> None:
    began = time.monotonic()
    assert web.get(f"/get_output/{web.submit()}?wait=0.2").status_code == 202
    assert 0.2 <= time.monotonic() - began < 3


def test_a_wait_goes_on_by_the_store_when_the_controller_is_away(web: Web) -> None:
    job_id = web.started()
    web.controller.vanish()
    timer = threading.Timer(0.3, web.controller.succeed, [job_id])
    timer.start()
    answer = web.get(f"/get_output/{job_id}?wait=20")
    timer.join()
    web.new_controller()
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() < 5


def test_nobody_waits_for_a_queued_job_of_a_stopping_server(web: Web) -> None:
    job_id = web.submit()
    timer = threading.Timer(0.3, web.controller.show, [pool_view(stopping=True)])
    timer.start()
    answer = web.get(f"/get_output/{job_id}?wait=30")
    timer.join()
    assert answer.status_code == 202
    assert answer.elapsed.total_seconds() < 5


# --- who may ask ---


def test_a_name_that_an_attacker_points_at_this_machine_reads_and_does_nothing(web: Web) -> None:
    """DNS rebinding: to the browser it is one origin, so it sends what it sends to its own site."""
    job_id = web.started()
    name = f"rebound.example:{web.port}"
    headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
    for answer in (web.get("/server_status", headers=headers), web.post(f"/cancel/{job_id}", headers=headers)):
        assert answer.status_code == 421 and "--allowed-host" in answer.json()["detail"]
    assert web.controller.cancels == [] and web.job(job_id).status == "running"
