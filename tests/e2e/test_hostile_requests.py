"""Hostile requests to a real server: each is refused in plain words and soon, and the server goes on as before."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hostile import ALL, JSON, MAX_BODY, check_refused, post
from serving import BOUNDED, RunningServer, shared_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    yield from shared_server(BOUNDED, tmp_path_factory.mktemp("hostile"), max_body=MAX_BODY)


@pytest.fixture(scope="module")
def port(server: RunningServer) -> int:
    found = urlsplit(server.url).port
    assert found
    return found


@pytest.mark.parametrize("name", ALL)
def test_it_is_refused_and_the_next_request_served(server: RunningServer, port: int, name: str) -> None:
    check_refused(port, ALL[name])
    assert server.get("/healthz").status_code == 200


def test_after_all_that_jobs_are_done(server: RunningServer) -> None:
    body = server.result(server.submit(prompt="a\x00b", scale=2, points=[{"x": -0.0}], anything=-0.0)).json()
    assert body["status"] == "succeeded"
    assert server.get("/server_status").json()["queue"]["failed"] == 0


def test_nothing_of_it_is_in_the_log_as_a_mistake_of_the_server(server: RunningServer) -> None:
    assert "Traceback" not in server.log()
    assert not server.records("POST /generate failed")


@pytest.mark.parametrize("depth", range(300, 1000, 50))
def test_any_depth_is_refused_with_a_key_too(port: int, depth: int) -> None:
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b'{"prompt": "a", "anything": ' + opened * depth + b"1" + closed * depth + b"}"
        check_refused(port, post(body, 400, JSON, f"Idempotency-Key: {depth}"))
