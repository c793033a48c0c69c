"""Live events of a whole server: what predictors emit reaches who listens, over deaths and with many listeners."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from agents import SECRET, RunningAgent
from emitting import PICTURE
from serving import COUNTING, RunningServer, shared_server
from waiting import wait_until

from para_attn_server.client import Client

EMITTING = f"{Path(__file__).parents[1] / 'predictors' / 'emitting.py'}:EmittingPredictor"
Serve = Callable[..., RunningServer]
WORDS = [f"word{number} " for number in range(8)]
LISTENERS = 500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    yield from shared_server(EMITTING, tmp_path_factory.mktemp("emitting"))


def events_of(server: RunningServer, **arguments: Any) -> list[dict[str, Any]]:
    """All events of such a job."""
    with Client(server.url) as client:
        return list(client.events(client.submit(**arguments)))


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["data"] for event in events if event["type"] == "text")


def test_what_a_predictor_emits_reaches_who_listens(server: RunningServer) -> None:
    events = events_of(server, words=WORDS, pictures=True, delay=0.1)
    types = [event["type"] for event in events if event["type"] != "position"]
    assert types[:2] == ["queued", "started"] and types[-1] == "succeeded" and "snapshot" not in types
    assert text_of(events) == "".join(WORDS)
    assert [event["data"]["word"] for event in events if event["type"] == "state"] == list(range(1, 9))
    pictures = [event for event in events if event["type"] == "preview"]
    assert len(pictures) >= 6 and {(e["data"], e["media_type"]) for e in pictures} == {(PICTURE, "image/jpeg")}
    assert [e["data"]["text"] for e in events if e["type"] == "log"] == [f"word {n}" for n in range(1, 9)]
    steps = [event["data"]["step"] for event in events if event["type"] == "step"]
    assert steps == sorted(steps) and steps[-1] == 8
    assert len({event["id"] for event in events if event["type"] in ("text", "state", "preview", "log")}) >= 20


def test_a_flood_of_events_costs_events_and_not_the_job(server: RunningServer) -> None:
    events = events_of(server, words=["a", "b"], burst=100_000)
    numbers = [event["data"] for event in events if event["type"] == "burst"]
    skipped = sum(event["data"]["skipped"] for event in events if event["type"] == "snapshot")
    assert numbers == sorted(numbers) and numbers[-1] == 99_999
    assert len(numbers) + skipped == 100_000 and text_of(events) == "ab"
    (times,) = [event["data"]["job"] for event in events if event["type"] == "succeeded"]
    assert times["finished_at"] - times["started_at"] < 15


def test_data_that_json_does_not_have_fails_the_job_by_its_name(server: RunningServer) -> None:
    job_id = server.submit(words=[], bad="set")
    error = server.result(job_id).json()["error"]
    assert error["type"] == "TypeError" and "data[0]['box'] is of type set" in error["message"]
    assert server.result(server.submit(words=["a"])).status_code == 200, "on all ranks alike: the group is kept"
    assert server.result(server.submit(words=["a"], bad="x" * 70_000)).status_code == 200
    too_large = server.submit(words=["a"], bad="x" * 70_000)
    assert server.result(too_large).status_code == 200
    assert (
        "70002 bytes of data, and an event may have up to 65536; it is dropped"
        in server.get(f"/jobs/{too_large}/log").text
    )


@pytest.mark.slow
def test_after_kill_9_of_a_web_worker_and_of_the_controller_a_listener_goes_on(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    server = serve(EMITTING, port=port)
    server.wait_ready()
    seen: list[dict[str, Any]] = []
    with Client(server.url, retry_for=60) as client:
        job_id = client.submit(words=[f"{number} " for number in range(400)], delay=0.05)
        thread = threading.Thread(target=lambda: seen.extend(client.events(job_id)), daemon=True)
        thread.start()
        wait_until(lambda: sum(event["type"] == "text" for event in seen) >= 10, 30)
        server.processes()["web worker"].kill()
        known = len(seen)
        wait_until(lambda: len(seen) > known + 20, 30, "events from another web worker")
        assert not [event for event in seen if event["type"] == "snapshot"], "nothing is lost"
        words = text_of(seen).split()
        assert words == [str(number) for number in range(len(words))]
        server.kill()
        known = len(seen)
        again = serve(EMITTING, port=port)
        again.wait_ready()
        wait_until(lambda: [event for event in seen[known:] if event["type"] == "text"], 60)
        assert client.cancel(job_id)["status"] == "canceled"
        thread.join(30)
    types = [event["type"] for event in seen if event["type"] not in ("text", "state", "step", "log", "position")]
    assert types == ["queued", "started", "snapshot", "requeued", "started", "cancel_requested", "canceled"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.slow
def test_events_of_ranks_below_an_agent(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARA_ATTN_AGENT_SECRET", SECRET)
    agent = RunningAgent(tmp_path)
    try:
        server = serve(EMITTING, executor=agent.url)
        server.wait_ready()
        events = events_of(server, words=WORDS, pictures=True, delay=0.1)
        assert text_of(events) == "".join(WORDS)
        assert {event["data"] for event in events if event["type"] == "preview"} == {PICTURE}
    finally:
        agent.close()


@pytest.mark.slow
def test_many_idle_listeners_neither_starve_status_requests_nor_slow_a_job(serve: Serve) -> None:
    """They listen to jobs that are queued, while another one runs and is polled."""
    server = serve(COUNTING, web_workers=1)
    server.wait_ready()
    polled(server)
    alone = [polled(server) for _ in range(3)]
    address = (server.url.rpartition(":")[0].removeprefix("http://"), int(server.url.rpartition(":")[2]))
    with ExitStack() as stack:
        with server.busy():
            waiting = [server.submit(steps=2) for _ in range(5)]
            streams = [stack.enter_context(socket.create_connection(address, 60)) for _ in range(LISTENERS)]
            for number, stream in enumerate(streams):
                request = f"GET /jobs/{waiting[number % 5]}/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
                stream.sendall(request.encode())
            for stream in streams:
                read_until(stream, b"event: position")
            job_id = submitted(server)
        heard = polled(server, job_id)
        for stream in streams:
            read_until(stream, b"event: succeeded")
    print(f"alone {alone}, with {LISTENERS} listeners {heard}")
    assert heard[0] < 1.3 * max(each[0] for each in alone) + 0.2, "the job"
    assert heard[1] < 3 * max(each[1] for each in alone) + 0.02, "a status request"


def submitted(server: RunningServer) -> str:
    """A job that starts before others that wait."""
    answer = server.post("/generate", json={"steps": 300, "delay": 0.005}, headers={"Job-Priority": "high"})
    job_id: str = answer.json()["request_id"]
    return job_id


def polled(server: RunningServer, job_id: str = "") -> tuple[float, float]:
    """Seconds of a job, and the median of a status request meanwhile."""
    job_id, polls = job_id or submitted(server), []
    while True:
        began = time.monotonic()
        status = server.status(job_id)
        polls.append(time.monotonic() - began)
        if status["status"] == "succeeded":
            return status["timings"]["run_seconds"], statistics.median(polls)


def read_until(stream: socket.socket, text: bytes) -> bytes:
    data = b""
    while text not in data:
        data += stream.recv(2**16)
    return data
