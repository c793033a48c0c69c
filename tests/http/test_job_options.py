"""Job-Priority and Job-Target: what a request says of its place in the queue."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from web import Web

from para_attn_server.core.job import Job, Priority


def submitted(web: Web, **headers: str) -> Job:
    """The row of a job that came with these headers."""
    answer = web.post(
        "/generate", json={"prompt": "a"}, headers={f"Job-{name}": text for name, text in headers.items()}
    )
    assert answer.status_code == 202, answer.text
    return web.job(answer.json()["request_id"])


@pytest.mark.parametrize(
    ("text", "priority"),
    [("low", Priority.LOW), ("normal", Priority.NORMAL), ("high", Priority.HIGH)],
)
def test_a_job_has_the_class_that_was_asked_for(web: Web, text: str, priority: Priority) -> None:
    job = submitted(web, Priority=text)
    assert job.priority is priority
    assert web.get(f"/request_status/{job.id}").json()["priority"] == text


def test_without_headers_a_job_is_normal_and_has_no_target_of_its_own(web: Web) -> None:
    job = submitted(web)
    assert (job.priority, job.target) == (Priority.NORMAL, None)
    body = web.get(f"/request_status/{job.id}").json()
    assert (body["priority"], body["target_at"]) == ("normal", None)


@pytest.mark.parametrize("form", ["a duration", "a moment"])
def test_a_target_is_a_duration_or_a_moment(web: Web, form: str) -> None:
    wanted = time.time() + 90
    moment = datetime.now(UTC) + timedelta(seconds=90)
    job = submitted(web, Target="1.5m" if form == "a duration" else moment.isoformat())
    assert job.target is not None
    assert job.target - job.created_steady == pytest.approx(90, abs=5)
    assert web.get(f"/request_status/{job.id}").json()["target_at"] == pytest.approx(wanted, abs=5)


def test_a_job_has_the_shape_of_its_arguments(web: Web) -> None:
    assert submitted(web).shape.startswith("{")


@pytest.mark.parametrize(
    ("header", "text", "words"),
    [
        ("Job-Priority", "urgent", "must be low, normal or high"),
        ("Job-Priority", "HIGH", "must be low, normal or high"),
        ("Job-Target", "soon", "must be a duration"),
        ("Job-Target", "0s", "longer than 0"),
        ("Job-Target", "2001-01-01T00:00:00Z", "in the future"),
        ("Job-Target", "2030-01-01", "RFC 3339"),
    ],
)
def test_what_is_wrong_is_named(web: Web, header: str, text: str, words: str) -> None:
    answer = web.post("/generate", json={"prompt": "a"}, headers={header: text})
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["parameter"] == header
    assert words in error["detail"]


@pytest.mark.parametrize(
    "text", ['{"album": "spring", "tags": [1, null]}', '{"name": "\\u00fc"}', '{"name": "ü"}', "{}"]
)
def test_a_job_keeps_the_clients_notes(web: Web, text: str) -> None:
    answer = web.post("/generate", json={"prompt": "a"}, headers={b"Job-Metadata": text.encode()})
    job_id = answer.json()["request_id"]
    assert web.job(job_id).metadata == json.loads(text)
    assert web.get(f"/request_status/{job_id}").json()["metadata"] == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "3", "null", "{", "album=spring", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": "\xff"}',
        '{"a": ' + "[" * 3000 + "]" * 1000 + "}", '{"a": "' + "x" * 4096 + '"}', '{"a": ' + "9" * 4085 + "}",
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_notes_that_are_no_small_object_are_refused(web: Web, text: str) -> None:
    answer = web.post("/generate", json={"prompt": "a"}, headers={b"Job-Metadata": text.encode("latin-1")})
    assert answer.status_code == 400
    assert [field["parameter"] for field in answer.json()["errors"]] == ["Job-Metadata"]
