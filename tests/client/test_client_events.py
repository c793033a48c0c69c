"""Client.events over broken connections: it goes on behind the last event, and ends with the job."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from scripted import Answer, ScriptedServer, scripted_server

from para_attn_server.client import Client, RequestRefused, ServerUnavailable

STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    with Client(server.url, retry_for=0.5, sleep=lambda _: None) as client:
        yield client


def frames(*events: tuple[str, Any]) -> bytes:
    text = "retry: 2000\n\n: still here\n\n"
    for number, (kind, more) in enumerate(events, start=1):
        body = {"type": kind, "at": 1.5, "data": None, **more}
        text += f"id: {number}.0-0\nevent: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"
    return text.encode()


QUEUED, ENDED = ("queued", {"data": {}}), ("succeeded", {"data": {"size": 3}})


def test_events_are_what_the_server_says_with_bytes_as_bytes(server: ScriptedServer, client: Client) -> None:
    picture = ("preview", {"base64": b64encode(b"\xff\xd8").decode(), "media_type": "image/jpeg"})
    text = "line\u2028separator \x85 and \x0c feed"
    server.says(Answer(200, frames(QUEUED, picture, ("text", {"data": text}), ENDED), STREAM))
    events = list(client.events("ab"))
    assert [event["type"] for event in events] == ["queued", "preview", "text", "succeeded"]
    assert events[1] == {"id": "2.0-0", "type": "preview", "at": 1.5, "data": b"\xff\xd8", "media_type": "image/jpeg"}
    assert events[2]["data"] == text


def test_a_broken_stream_is_taken_up_behind_the_last_event(server: ScriptedServer, client: Client) -> None:
    whole = frames(QUEUED, ("log", {"data": {"text": "x"}}), ENDED)
    server.says(
        Answer(200, whole, STREAM, cut=whole.index(b"succeeded")),  # the connection breaks
        Answer(503, {"title": "no"}, {"Retry-After": "0"}),
        Answer(0),
        Answer(200, b"retry: 2000\n\n", STREAM),  # the server stops
        Answer(200, frames(ENDED), STREAM),
    )
    assert [event["type"] for event in client.events("ab")] == ["queued", "log", "succeeded"]
    assert server.last_event_ids == [None] + ["2.0-0"] * 4


def test_an_end_that_was_seen_is_the_end(server: ScriptedServer, client: Client) -> None:
    server.says(Answer(204, b""))
    assert list(client.events("ab", after="9.1-3")) == []
    assert server.last_event_ids == ["9.1-3"]


def test_what_cannot_be_followed_says_so(server: ScriptedServer, client: Client) -> None:
    server.says(Answer(404, {"title": "No such job", "detail": "none"}), Answer(200, {"a": "page"}), Answer(503, {}))
    with pytest.raises(RequestRefused, match="No such job"):
        list(client.events("ab"))
    with pytest.raises(ServerUnavailable, match="not a para-attn-server"):
        list(client.events("ab"))
    with pytest.raises(ServerUnavailable):
        list(client.events("ab"))
