"""GET /jobs/<id>/events over the real web processes: its form, its resumption, its end."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from waiting import wait_until
from web import Web

from para_attn_server.client import Client
from para_attn_server.core.wire.control import JobUpdate, LiveEvent, LiveMark


def parsed(text: str) -> list[dict[str, str]]:
    """The events of a whole stream, field by field."""
    frames = [frame.splitlines() for frame in text.split("\n\n") if frame and not frame.startswith((":", "retry"))]
    return [dict(line.split(": ", 1) for line in frame) for frame in frames]


def emit(web: Web, job_id: str, number: int, data: Any, run: int = 1) -> None:
    web.controller.tell(LiveEvent(job_id, run, number, "token", 12.5, json.dumps(data), False))


def test_an_ended_jobs_events_are_a_whole_stream(web: Web) -> None:
    job_id = web.done()
    answer = web.get(f"/jobs/{job_id}/events")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no" and answer.text.startswith("retry: ")
    events = parsed(answer.text)
    assert [event["event"] for event in events] == ["queued", "started", "succeeded"]
    bodies = [json.loads(event["data"]) for event in events]
    assert [body["type"] for body in bodies] == ["queued", "started", "succeeded"]
    assert bodies[2]["data"]["job"]["output_url"] == f"/outputs/{job_id}" and bodies[2]["data"]["size"] == 7
    again = web.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": events[1]["id"]})
    assert parsed(again.text) == [{**events[2], "data": parsed(again.text)[0]["data"]}]
    nothing = web.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": events[2]["id"]})
    assert (nothing.status_code, nothing.content) == (204, b"") and "content-type" not in nothing.headers


def test_no_such_job_has_no_events(web: Web) -> None:
    assert web.get("/jobs/0123/events").status_code == 404
    assert web.get("/jobs/nonsense!/events").status_code == 404
    head = web.ask("HEAD", f"/jobs/{web.submit()}/events")
    assert head.status_code == 200 and head.headers["content-type"].startswith("text/event-stream")


def test_live_events_come_in_the_form_of_their_data(web: Web) -> None:
    job_id = web.started()
    with httpx.stream("GET", f"{web.client.base_url}/jobs/{job_id}/events", timeout=20) as stream:
        lines = stream.iter_lines()
        assert "event: started" in lines
        web.controller.tell(LiveMark(job_id, 1, 0))
        emit(web, job_id, 1, {"a": "ü\u2028\n"})
        web.controller.tell(LiveEvent(job_id, 1, 2, "preview", 12.5, "/9j/AAAAAAAAAAAA", True))
        web.controller.tell(LiveEvent(job_id, 1, 4, "preview", 12.5, "UklGRgAAAABXRUJQ", True))
        web.controller.tell(JobUpdate(job_id, "running", 3, 9))
        data = (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {"))
        assert next(data)["type"] == "started"
        found = [next(data) for _ in range(5)]
    found.sort(key=lambda body: ["token", "preview", "snapshot", "step"].index(body["type"]))
    assert found[0] == {"type": "token", "at": 12.5, "data": {"a": "ü\u2028\n"}}
    preview = {"type": "preview", "at": 12.5, "data": None}
    assert found[1] == {**preview, "base64": "/9j/AAAAAAAAAAAA", "media_type": "image/jpeg"}
    assert found[2] == {**preview, "base64": "UklGRgAAAABXRUJQ", "media_type": "image/webp"}
    assert found[3]["data"]["skipped"] == 1 and found[3]["data"]["job"]["status"] == "running"
    assert (found[4]["data"]["step"], found[4]["data"]["total_steps"]) == (3, 9)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Web]:
    web = Web(tmp_path)
    yield web
    web.close()


def test_a_killed_web_worker_and_a_stop_cost_no_listener_an_event(own: Web) -> None:
    """The client goes on behind its last event, in the next worker; an orderly stop ends all streams."""
    job_id = own.started()
    seen: list[dict[str, Any]] = []
    with Client(str(own.client.base_url)) as client:
        follower = threading.Thread(target=lambda: seen.extend(iter(client.events(job_id))), daemon=True)
        events = client.events(job_id)
        assert [next(events)["type"] for _ in range(2)] == ["queued", "started"]
        follower.start()
        for worker in own.workers():
            worker.kill()
        wait_until(lambda: own.controller.links == 1, 20, "another worker")
        own.controller.succeed(job_id)
        assert [event["type"] for event in events] == ["succeeded"]
        follower.join(20)
        assert [event["type"] for event in seen] == ["queued", "started", "succeeded"]
    job_id = own.started()
    with httpx.stream("GET", f"{own.client.base_url}/jobs/{job_id}/events", timeout=20) as stream:
        lines = stream.iter_lines()
        assert "event: started" in lines
        os.kill(own.process.pid, signal.SIGTERM)
        assert "".join(lines).count("event: ") == 0, "it ends whole"
    assert own.process.wait(10) == 0
