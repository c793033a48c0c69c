"""The client against scripted answers: what it repeats, what it never repeats, what it raises."""

from __future__ import annotations

import base64
import math
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from scripted import Answer, ScriptedServer, scripted_server

from para_attn_server.client import (
    Client,
    InvalidArgument,
    JobCanceled,
    JobFailed,
    RequestRefused,
    ServerUnavailable,
    WaitTimedOut,
)
from para_attn_server.client.transport import server_url
from para_attn_server.core.errors import UsageError

ACCEPTED = Answer(202, {"request_id": "ab"})
FULL = Answer(429, {"title": "The queue is full", "detail": "later"}, {"Retry-After": "7"})
BUSY = Answer(503, {"title": "Not accepting jobs", "detail": "starting"}, {"Retry-After": "5"})
HANGS_UP = Answer(0)
FILE = {"Content-Disposition": "inline; filename=ab.png"}


def problem(status: int, kind: str, **more: Any) -> Answer:
    return Answer(status, {"type": f"urn:x:{kind}", "title": "T", "status": status, "detail": "D", **more})


CANCELED = problem(410, "job-canceled", request_id="ab", step=3)
FAILED = problem(500, "job-failed", request_id="ab", error={"type": "hang", "message": "stuck", "hint": "try less"})


def running(step: int) -> Answer:
    return Answer(202, {"request_id": "ab", "status": "running", "step": step, "total_steps": 9})


SUCCEEDED = Answer(200, {"request_id": "ab", "status": "succeeded", "step": 9, "total_steps": 9})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running_server:
        yield running_server


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(server: ScriptedServer, slept: list[float]) -> Iterator[Client]:
    with Client(server.url, timeout=5, retry_for=30, sleep=slept.append) as one:
        yield one


def test_submit_sends_the_arguments_and_returns_the_id(server: ScriptedServer, client: Client) -> None:
    server.says(ACCEPTED)
    assert client.submit(prompt="a star", steps=3) == "ab"
    assert server.requests == [("POST", "/generate", {"prompt": "a star", "steps": 3})]


@pytest.mark.parametrize("answer", [FULL, BUSY])
def test_a_post_that_was_not_taken_is_sent_again_when_the_server_says(
    server: ScriptedServer, client: Client, slept: list[float], answer: Answer
) -> None:
    server.says(answer, answer, ACCEPTED)
    assert client.submit() == "ab"
    assert len(server.requests) == 3
    assert slept == [float(answer.headers["Retry-After"])] * 2


@pytest.mark.parametrize("answer", [HANGS_UP, Answer(502, {}), Answer(504, {})])
def test_a_submission_that_may_have_been_taken_is_sent_again_under_the_same_key(
    server: ScriptedServer, client: Client, answer: Answer
) -> None:
    server.says(answer, ACCEPTED)
    assert client.submit() == "ab"
    assert len(server.requests) == 2
    assert len(set(server.keys)) == 1
    client.submit()
    assert len(set(server.keys)) == 2
    assert None not in server.keys


@pytest.mark.parametrize("answer", [HANGS_UP, Answer(500, {}), Answer(502, {}), Answer(504, {})])
def test_a_post_without_a_key_that_may_have_been_taken_is_never_sent_again(
    server: ScriptedServer, client: Client, answer: Answer
) -> None:
    server.says(answer, ACCEPTED)
    with pytest.raises(ServerUnavailable):
        client.cancel("ab")
    assert server.keys == [None]


def test_a_post_is_tried_again_while_nobody_listens(slept: list[float]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with Client(url, retry_for=3, sleep=slept.append) as client, pytest.raises(ServerUnavailable, match=url):
            client.submit()
    assert len(slept) > 2
    assert slept == sorted(slept)
    assert sum(slept) <= 3


@pytest.mark.parametrize("answer", [HANGS_UP, FULL, BUSY, Answer(502, {}), Answer(504, {})])
def test_a_get_is_repeated(server: ScriptedServer, client: Client, answer: Answer) -> None:
    server.says(answer, answer, running(1))
    assert client.status("ab")["step"] == 1
    assert len(server.requests) == 3


def test_repetition_ends(server: ScriptedServer, client: Client, slept: list[float]) -> None:
    server.says(FULL)
    with pytest.raises(ServerUnavailable, match="queue is full"):
        client.submit()
    assert slept == [7.0] * 4


def test_a_refusal_names_the_fields_and_is_not_repeated(server: ScriptedServer, client: Client) -> None:
    errors = [
        {"detail": "must be at most 50", "pointer": "#/steps"},
        {"detail": "must be 0 to 60", "parameter": "wait"},
    ]
    server.says(problem(400, "invalid-input", errors=errors))
    with pytest.raises(RequestRefused, match="steps must be at most 50; wait must be 0 to 60") as caught:
        client.submit(steps=99)
    assert caught.value.status == 400
    assert caught.value.fields == {"steps": "must be at most 50", "wait": "must be 0 to 60"}
    assert len(server.requests) == 1


def test_wait_follows_a_job_and_never_asks_without_a_pause(
    server: ScriptedServer, client: Client, slept: list[float]
) -> None:
    server.says(running(1), running(5), SUCCEEDED)
    seen: list[dict[str, Any]] = []
    assert client.wait("ab", on_progress=seen.append)["status"] == "succeeded"
    assert [status["step"] for status in seen] == [1, 5, 9]
    assert len(slept) == 2
    assert all("wait=" in path for _, path, _ in server.requests)


@pytest.mark.parametrize(("answer", "error"), [(CANCELED, JobCanceled), (FAILED, JobFailed)])
def test_every_way_to_an_output_tells_how_the_job_ended(
    server: ScriptedServer, client: Client, tmp_path: Path, answer: Answer, error: type[Exception]
) -> None:
    server.says(answer)
    for ask in (lambda: client.wait("ab"), lambda: client.result("ab"), lambda: client.save("ab", tmp_path / "x")):
        with pytest.raises(error) as caught:
            ask()
        assert "ab" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_job_carries_its_error(server: ScriptedServer, client: Client) -> None:
    server.says(FAILED)
    assert client.status("ab")["status"] == "failed"
    with pytest.raises(JobFailed, match="stuck; try less") as caught:
        client.wait("ab")
    assert (caught.value.type, caught.value.hint, caught.value.rank) == ("hang", "try less", None)


def test_wait_gives_up_in_time_and_leaves_the_job_alone(server: ScriptedServer, client: Client) -> None:
    server.says(running(1))
    with pytest.raises(WaitTimedOut) as caught:
        client.wait("ab", timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    assert {method for method, _, _ in server.requests} == {"GET"}


def test_wait_keeps_its_timeout_while_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url, began = f"http://127.0.0.1:{closed.getsockname()[1]}", time.monotonic()
        with (
            Client(url, retry_for=30) as client,
            pytest.raises(WaitTimedOut, match=r"within 0\.5 s.*cannot be reached"),
        ):
            client.wait("ab", timeout=0.5)
        assert time.monotonic() - began < 5


def test_wait_keeps_its_timeout_while_the_server_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url, began = f"http://127.0.0.1:{silent.getsockname()[1]}", time.monotonic()
        with Client(url, timeout=30, retry_for=0.1) as client, pytest.raises(WaitTimedOut, match="no answer in time"):
            client.wait("ab", timeout=0.2)
        assert time.monotonic() - began < 10


def test_wait_asks_a_server_that_is_back_to_hold_its_answer_for_what_is_left(server: ScriptedServer) -> None:
    server.says(HANGS_UP, SUCCEEDED)
    with Client(server.url) as client:
        assert client.wait("ab", timeout=10)["status"] == "succeeded"
    first, second = (float(path.partition("wait=")[2]) for _, path, _ in server.requests)
    assert 0 < second <= first - 0.1 < 10


def test_wait_repeats_no_longer_than_the_client(server: ScriptedServer, client: Client, slept: list[float]) -> None:
    server.says(HANGS_UP)
    with pytest.raises(ServerUnavailable):
        client.wait("ab", timeout=3600)
    assert 20 < sum(slept) <= 30


def test_result_holds_the_bytes(server: ScriptedServer, client: Client) -> None:
    server.says(Answer(200, {"output": base64.b64encode(b"\x00picture").decode(), "file_type": "image/png"}))
    assert client.result("ab") == {"output": b"\x00picture", "file_type": "image/png"}


def test_result_of_a_job_on_its_way_is_refused(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.says(running(1))
    with pytest.raises(RequestRefused, match="running"):
        client.result("ab")
    with pytest.raises(RequestRefused, match="running"):
        client.save("ab", tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []


def test_save_starts_over_after_a_broken_download(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.says(Answer(200, b"whole picture", FILE, cut=5), Answer(200, b"whole picture", FILE))
    assert client.save("ab", tmp_path / "picture.png").read_bytes() == b"whole picture"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_save_leaves_the_old_file_when_it_fails(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_text("old")
    server.says(problem(410, "about:blank"))
    with pytest.raises(RequestRefused):
        client.save("ab", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_generate_submits_once_waits_and_saves(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.says(ACCEPTED, running(1), SUCCEEDED, Answer(200, b"picture", FILE))
    assert client.generate(tmp_path / "picture.png", prompt="a star")["status"] == "succeeded"
    assert (tmp_path / "picture.png").read_bytes() == b"picture"
    assert [method for method, _, _ in server.requests] == ["POST", "GET", "GET", "GET"]


def test_a_cancel_of_whatever_runs_is_not_repeated(server: ScriptedServer, client: Client) -> None:
    server.says(BUSY)
    with pytest.raises(ServerUnavailable):
        client.cancel()
    assert [path for _, path, _ in server.requests] == ["/cancel"]


def test_cancel_by_id_is_repeated(server: ScriptedServer, client: Client) -> None:
    server.says(BUSY, Answer(200, {"request_id": "ab", "status": "canceled"}))
    assert client.cancel("ab")["status"] == "canceled"
    assert [path for _, path, _ in server.requests] == ["/cancel/ab"] * 2


def test_a_broken_pool_still_tells_its_state(server: ScriptedServer, client: Client) -> None:
    server.says(problem(500, "pool-down", server={"status": "ok", "groups": []}))
    assert client.server_status() == {"status": "broken", "groups": [], "cause": "D"}


def test_readiness_is_asked_once(server: ScriptedServer, client: Client, slept: list[float]) -> None:
    server.says(BUSY, BUSY, Answer(200, {"status": "ready"}))
    assert not client.ready()
    assert slept == []
    client.wait_ready()
    assert client.ready()
    assert len(server.requests) == 4


def test_wait_ready_gives_up_with_the_reason(server: ScriptedServer, client: Client) -> None:
    server.says(BUSY)
    with pytest.raises(ServerUnavailable, match=r"not ready after 0\.05 s.*starting"):
        client.wait_ready(timeout=0.05)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b"{}", b'{"type": "page"}'])
def test_another_program_behind_the_url_is_recognised(
    server: ScriptedServer, client: Client, tmp_path: Path, body: bytes
) -> None:
    server.says(Answer(200, body, {"Content-Type": "text/html" if body[:1] == b"<" else "application/json"}))
    asks: list[Callable[[], Any]] = [
        *(client.schema, client.server_status, client.submit, client.cancel, client.wait_ready),
        *(partial(ask, "ab") for ask in (client.status, client.wait, client.result, client.cancel)),
        *(lambda: list(client.log("ab")), lambda: list(client.log("ab", follow=True))),
        lambda: client.save("ab", tmp_path / "x"),
    ]
    for ask in asks:
        with pytest.raises(ServerUnavailable, match="not a para-attn-server"):
            ask() if ask != client.wait_ready else client.wait_ready(timeout=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"X-Log-Next": "3"}])
def test_text_is_a_log_only_with_the_media_type_and_the_cursor(
    server: ScriptedServer, client: Client, headers: dict[str, str]
) -> None:
    server.says(Answer(200, b"a line", headers))
    with pytest.raises(ServerUnavailable, match="not a para-attn-server"):
        list(client.log("ab"))
    server.says(Answer(200, b"a line", {"Content-Type": "text/plain; charset=utf-8", "X-Log-Next": "1"}))
    server.answers.popleft()
    assert list(client.log("ab")) == ["a line"]


WRONG_URLS = [
    *("", " ", "http://", "https:///x", "http://[::1", "http://host:5000?x=1", "http://host#a", "host?x", "::1"),
    *("unix:/tmp/x", "ftp://x", "http:host", "http://host:", "http://host:0", "http://host:70000", "http://a b"),
    *("http://bob:secret@host:port", "file:///x", None, 5000),
]


@pytest.mark.parametrize("url", WRONG_URLS)
def test_what_cannot_be_a_servers_url_is_refused_at_construction(url: Any) -> None:
    with pytest.raises(UsageError, match=r"is not a server's URL; give one such as http://127\.0\.0\.1:5000") as caught:
        Client(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("host", "http://host"),
        ("host:5000/", "http://host:5000"),
        ("HTTP://host", "HTTP://host"),
        ("https://a.example/pictures/", "https://a.example/pictures"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("http://bob:secret@host/x", "http://bob:secret@host/x"),
    ],
)
def test_a_servers_url_is_kept_in_full(given: str, url: str) -> None:
    assert server_url(given) == url


def test_an_address_without_scheme_will_do(server: ScriptedServer) -> None:
    server.says(ACCEPTED)
    with Client(server.url.removeprefix("http://")) as client:
        assert client.submit() == "ab"


def test_a_proxy_in_the_environment_is_not_asked_for_loopback(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.says(ACCEPTED)
    with Client(server.url, retry_for=0) as client:
        assert client.submit() == "ab"


@pytest.mark.parametrize(
    "request_id", ["", "../schema", "ab?x", "a b", "ab\n", "\ud800", "é", None, 5, b"ab", "a" * 101]
)
def test_what_is_not_a_request_id_is_never_sent(
    server: ScriptedServer, client: Client, tmp_path: Path, request_id: Any
) -> None:
    asks: list[Callable[[Any], Any]] = [client.status, client.wait, client.result, lambda x: list(client.log(x))]
    asks += [lambda x: client.save(x, tmp_path / "x"), *([client.cancel] if request_id is not None else [])]
    for ask in asks:
        with pytest.raises(InvalidArgument, match="request_id is not a request id: "):
            ask(request_id)
    assert server.requests == [] and list(tmp_path.iterdir()) == []


def test_arguments_are_sent_as_json_has_them(server: ScriptedServer, client: Client) -> None:
    server.says(ACCEPTED)
    client.submit(
        image=b"\x00\xff", parts=[bytearray(b"a"), memoryview(b"b")], steps=numpy.int64(3), scale=numpy.float32(0.5),
        on=numpy.bool_(True), pair=(1, None), box={"x": numpy.float64(1.5), 2: True}, prompt=numpy.str_("a 星"),
    )  # fmt: skip
    assert server.requests[0][2] == {
        **{"image": "AP8=", "parts": ["YQ==", "Yg=="], "steps": 3, "scale": 0.5, "on": True, "pair": [1, None]},
        **{"box": {"x": 1.5, "2": True}, "prompt": "a 星"},
    }


_CIRCLE: list[Any] = []
_CIRCLE.append(_CIRCLE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "x is nan, which JSON does not have; give a finite number"),
        ([1.0, -math.inf], "x/1 is -inf, which JSON does not have"),
        (numpy.float32("nan"), "x is nan"),
        ("a\ud800", "x has a lone surrogate at character 1"),
        ({"\udfff": 1}, "x has a lone surrogate at character 0"),
        ({"a": {1}}, "x/a is of type set, which JSON does not have; give text, a number"),
        ({"a": Path("a")}, "x/a is of type PosixPath"),
        (numpy.zeros(2), "x is of type ndarray"),
        (numpy.datetime64("2026-01-01"), "x is of type date"),
        ({(1, 2): 3}, r"x has a key that is not text: \(1, 2\)"),
        (_CIRCLE, "x is nested too deeply"),
    ],
)
def test_what_json_does_not_have_is_refused_by_name(
    server: ScriptedServer, client: Client, value: Any, words: str
) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        client.submit(prompt="a", x=value)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, RequestRefused)
    assert server.requests == []


def test_a_password_in_the_url_is_in_no_message() -> None:
    client = Client("http://bob:secret@127.0.0.1:1/pictures", retry_for=0)
    with client, pytest.raises(ServerUnavailable) as caught:
        client.schema()
    assert "127.0.0.1:1/pictures" in str(caught.value) and "secret" not in str(caught.value)


def test_an_upload_is_sent_again(server: ScriptedServer, client: Client) -> None:
    server.says(HANGS_UP, Answer(502), Answer(201, {"id": "ab", "kind": "image", "media_type": "image/png"}))
    assert client.upload(b"7")["id"] == "ab"
    assert server.requests == [("POST", "/uploads", 7)] * 3


def test_without_a_path_no_schema_is_asked_for(server: ScriptedServer, client: Client) -> None:
    server.says(ACCEPTED)
    client.submit(image=b"abc", images=["x"])
    assert server.requests == [("POST", "/generate", {"image": "YWJj", "images": ["x"]})]
