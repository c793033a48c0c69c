"""Each request has a name, in its answer and in the log; the access log has a line for each."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from waiting import wait_until
from web import Web


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A web with an access log, in JSON."""
    web = Web(tmp_path_factory.mktemp("logged"), access_log=True, log_format="json")
    yield web
    web.close()


def records(web: Web, **wanted: Any) -> list[dict[str, Any]]:
    """The records of the log with those values; every line must be one."""
    lines = [json.loads(line) for line in web.log().splitlines()]
    return [line for line in lines if wanted.items() <= line.items()]


@pytest.mark.parametrize("name", ["a", "Root=1-67891233-abcdef012345678912345678", "x" * 128, "a:b.c_d+e@f/g"])
def test_a_name_that_fits_is_taken(logged: Web, name: str) -> None:
    assert logged.get("/healthz", headers={"X-Request-Id": name}).headers["x-request-id"] == name


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", "a\tb", '"}', "caf\u00e9".encode(), b"a\x7f", "a,b"])
def test_a_name_that_does_not_fit_is_replaced(logged: Web, name: str | bytes) -> None:
    given = logged.client.get("/healthz", headers={"X-Request-Id": name}).headers["x-request-id"]
    assert len(given) == 32 and given.isalnum() and not records(logged, request_id=name)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("GET", "/no/such", 404), ("PUT", "/generate", 405), ("POST", "/generate", 415)],
)
def test_every_answer_has_a_name_of_its_own_and_a_line(logged: Web, method: str, path: str, status: int) -> None:
    names = {logged.ask(method, path).headers["x-request-id"] for _ in range(2)}
    assert len(names) == 2
    for name in names:
        (line,) = wait_until(lambda name=name: records(logged, event="request", request_id=name), 5, "its line")
        assert (line["method"], line["path"], line["status"], line["process"]) == (method, path, status, "web")
        assert 0 <= line["duration_s"] < 60


def test_a_waiting_requests_line_has_the_time_that_it_waited(logged: Web) -> None:
    answer = logged.get(f"/request_status/{logged.submit()}", params={"wait": 0.2})
    name = answer.headers["x-request-id"]
    (line,) = wait_until(lambda: records(logged, event="request", request_id=name), 5, "its line")
    assert line["duration_s"] >= 0.2 and "wait" not in line["path"]


@pytest.mark.parametrize(
    ("sent", "status", "known"),
    [
        (b"nonsense\r\n\r\n", 400, {}),
        (b"GET /a%0a?secret=1\r\n\r\n", 400, {}),
        (b"GET /a?secret=\xff HTTP/1.1\r\n\r\n", 400, {"method": "GET"}),
        (b"GET /a?a=1 secret HTTP/1.1\r\n\r\n", 400, {"method": "GET", "path": "/a"}),
        (b"GET /a?secret HTTP/9.1\r\n\r\n", 400, {"method": "GET", "path": "/a"}),
        (b"PUT /a%0ab?secret HTTP/1.1\r\nA b: c\r\n\r\n", 400, {"method": "PUT", "path": "/a%0ab"}),
        (b"POST /a?secret HTTP/1.1\r\nHost: a\r\nExpect: cake\r\n\r\n", 417, {"method": "POST", "path": "/a"}),
        (b"GET /a?secret HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n", 501, {"method": "GET", "path": "/a"}),
        (b"GET /?secret" + b"x" * 5000, 414, {}),
        (b"GET /a?secret HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431, {"method": "GET", "path": "/a"}),
    ],
)
def test_what_the_parser_refuses_is_logged_under_the_name_in_its_answer(
    logged: Web, sent: bytes, status: int, known: dict[str, str]
) -> None:
    with socket.create_connection(("127.0.0.1", logged.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")  # which has a name of its own
        answers = client.makefile("rb")
        while b'"alive"' not in answers.readline():
            pass
        client.sendall(sent)
        head, _, body = answers.read().decode().partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ") and json.loads(body)["status"] == status
    (name,) = re.findall(r"X-Request-Id: (\w{32})", head)
    (line,) = wait_until(lambda: records(logged, event="request", request_id=name), 5, "its line")
    keys = ("method", "path", "status")
    assert {key: line[key] for key in keys if key in line} == known | {"status": status}
    assert 0 <= line["duration_s"] < 10
    (warning,) = [record for record in records(logged, request_id=name) if record["level"] == "warning"]
    assert warning["event"].startswith("Invalid request from ip=127.0.0.1: ")
    assert "secret" not in logged.log()


def test_a_job_is_accepted_under_its_requests_name_and_the_controller_hears_it(logged: Web) -> None:
    answer = logged.post("/generate", json={"prompt": "a"}, headers={"X-Request-Id": "mine-1"})
    job_id = answer.json()["request_id"]
    (line,) = wait_until(lambda: records(logged, event="job accepted", job=job_id), 5, "its line")
    assert line["request_id"] == "mine-1"


def test_a_path_cannot_write_to_the_operators_terminal(logged: Web) -> None:
    answer = logged.client.get("/%1b%5b2J%0aforged")
    (line,) = wait_until(lambda: records(logged, request_id=answer.headers["x-request-id"]), 5, "its line")
    assert line["path"] == "/%1B%5B2J%0Aforged"
