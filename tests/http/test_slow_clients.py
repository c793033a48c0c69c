"""Clients that send or take slower than anyone should: they are cut off, and keep nobody else from being served."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psutil
import pytest
from waiting import wait_until
from web import PROBLEM_JSON, Web

from para_attn_server.http.server.connection import KEEPALIVE_SECONDS

REQUEST_TIMEOUT = 1.0
SLACK = 10.0  # connections are looked at once a second; the rest is for a busy machine
CROWD = 200
MAX_BODY = 100_000
IN_BUFFERS = 16 * 2**20  # what two sockets may hold of what nobody reads
LARGE = b"x" * 32 * 2**20
HEAD = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A web that waits for nobody longer than REQUEST_TIMEOUT."""
    web = Web(tmp_path_factory.mktemp("hasty"), request_timeout=REQUEST_TIMEOUT, max_body=MAX_BODY, access_log=True)
    yield web
    log = web.log()
    web.close()
    assert "Traceback" not in log and "[error" not in log


def connected(web: Web, receive_buffer: int | None = None) -> socket.socket:
    """A connection to the web."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", web.port))
    return connection


def connections(web: Web) -> int:
    """How many clients the web worker has."""
    (worker,) = web.workers()
    return sum(c.status == psutil.CONN_ESTABLISHED for c in psutil.Process(worker.pid).net_connections("inet"))


def trickle(connection: socket.socket, first: bytes, rest: bytes, deadline: float) -> tuple[bytes, float]:
    """Send `first`, then `rest` over and over, byte by byte, until the server ends it: its answer, and when."""
    began = time.monotonic()
    connection.sendall(first)
    answer = b""
    for number in range(10**6):
        readable, _, _ = select.select([connection], [], [], 0.1)
        if readable:
            try:
                block = connection.recv(1 << 16)
            except ConnectionResetError:
                block = b""
            if not block:
                return answer, time.monotonic() - began
            answer += block
            continue
        assert time.monotonic() - began < deadline, "the connection is still open"
        if rest and not answer:
            connection.sendall(rest[number % len(rest) :][:1])
    raise AssertionError


SLOW = {
    "request line": (b"GET /heal", b"x"),
    "headers": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X-A: b\r\n"),
    "half a head": (b"GET /healthz HTTP/1.1\r\nHost: loc", b""),
    "body": (HEAD + b"Content-Length: 10000\r\n\r\n{", b" "),
    "half a body": (HEAD + b"Content-Length: 10000\r\n\r\n{", b""),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "half a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n", b" "),
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_request_that_trickles_in_is_answered_with_408_and_the_connection_closed(hasty: Web, kind: str) -> None:
    with connected(hasty) as connection:
        answer, seconds = trickle(connection, *SLOW[kind], deadline=REQUEST_TIMEOUT + SLACK)
    assert seconds >= REQUEST_TIMEOUT
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ") and f"Content-Type: {PROBLEM_JSON}".encode() in head
    assert json.loads(body)["status"] == 408
    if "body" not in kind and "chunk" not in kind:  # else the app has got it, and logs it
        (name,) = re.findall(rb"X-Request-Id: (\w+)", head)
        (line,) = wait_until(lambda: [x for x in hasty.log().splitlines() if name.decode() in x], 5, "its line")
        assert " request " in line and "status=408" in line


def test_a_connection_that_says_nothing_is_closed_without_a_word(hasty: Web) -> None:
    with connected(hasty) as connection:
        answer, seconds = trickle(connection, b"", b"", deadline=REQUEST_TIMEOUT + SLACK)
    assert answer == b"" and seconds >= REQUEST_TIMEOUT


def test_a_body_asked_for_with_100_continue_is_waited_for_no_longer(hasty: Web) -> None:
    first = HEAD + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    with connected(hasty) as connection:
        answer, _ = trickle(connection, first, b"", deadline=REQUEST_TIMEOUT + SLACK)
    assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_body_without_an_end_is_cut_off(hasty: Web, framing: bytes) -> None:
    block, sent = b"10000\r\n" + b"x" * 2**16 + b"\r\n", 0
    with connected(hasty) as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.sendall(HEAD + framing)
        while sent < 2**30:
            connection.sendall(block)
            sent += len(block)
    assert sent < 2 * MAX_BODY + 2**20 + IN_BUFFERS


@pytest.mark.slow
def test_a_body_that_nobody_reads_is_waited_for_no_longer(hasty: Web) -> None:
    first = b"POST /cancel/ab HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n {"
    with connected(hasty) as connection:
        answer, _ = trickle(connection, first, b"", deadline=KEEPALIVE_SECONDS + SLACK)
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_after_a_refused_body_the_connection_rests_and_no_second_answer_comes(hasty: Web) -> None:
    body = b"x" * (MAX_BODY + 1)
    with closing(connected(hasty)) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413
        answer.read()
        connection.settimeout(REQUEST_TIMEOUT + 3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_client_that_will_close_sends_its_refused_body_and_sees_the_answer(hasty: Web) -> None:
    body = b"x" * (MAX_BODY + 1)
    with closing(connected(hasty)) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        assert answer.status == 413
        assert not select.select([connection], [], [], REQUEST_TIMEOUT / 2)[0], "closed on a client that still sends"
        connection.sendall(body)
        assert connection.recv(1) == b""


@pytest.mark.parametrize("route", ["outputs", "get_output"])
def test_an_answer_that_nobody_takes_is_given_up(hasty: Web, route: str) -> None:
    job_id = hasty.done(LARGE)
    before = connections(hasty)
    with connected(hasty, receive_buffer=4096) as connection:
        connection.sendall(f"GET /{route}/{job_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_until(lambda: connections(hasty) == before + 1, 5, "the connection")
        began = time.monotonic()
        wait_until(lambda: connections(hasty) <= before, REQUEST_TIMEOUT + SLACK, "the connection to be given up")
        assert time.monotonic() - began > REQUEST_TIMEOUT / 2


def test_an_answer_that_is_taken_slowly_but_steadily_comes_whole(hasty: Web) -> None:
    job_id = hasty.done(LARGE[: 2**23])
    got = 0
    with connected(hasty, receive_buffer=1 << 17) as connection:
        connection.sendall(f"GET /outputs/{job_id} HTTP/1.0\r\n\r\n".encode())
        began = time.monotonic()
        while block := connection.recv(1 << 18):
            got += len(block)
            due = began + 3 * REQUEST_TIMEOUT * got / 2**23
            wait_until(lambda due=due: time.monotonic() >= due, 30)  # type: ignore[misc]
    assert time.monotonic() - began > 2 * REQUEST_TIMEOUT and got > 2**23


def test_waiting_for_a_job_is_not_concerned(hasty: Web) -> None:
    client = http.client.HTTPConnection("127.0.0.1", hasty.port, timeout=30)
    with closing(client):
        began = time.monotonic()
        client.request("POST", f"/get_output/{hasty.submit()}?wait=4", b"{}")
        with client.getresponse() as answer:
            assert (answer.status, json.load(answer)["status"]) == (202, "queued")
        assert time.monotonic() - began >= 4
        connection = client.sock
        client.request("GET", "/healthz")
        assert client.getresponse().status == 200 and client.sock is connection  # and the connection goes on


def test_a_crowd_of_slow_clients_keeps_nobody_from_being_served(hasty: Web) -> None:
    kinds: list[Callable[[socket.socket], None]] = [lambda c: None]
    kinds += [lambda c, first=first: c.sendall(first) for first, _ in SLOW.values()]  # type: ignore[misc]
    crowd = [connected(hasty) for _ in range(CROWD)]
    try:
        for number, connection in enumerate(crowd):
            kinds[number % len(kinds)](connection)
        times = []
        for _ in range(30):
            began = time.perf_counter()
            assert hasty.post("/generate", json={"prompt": "a"}).status_code == 202
            times.append(time.perf_counter() - began)
        assert statistics.median(times) < 0.5
        wait_until(lambda: connections(hasty) < 10, REQUEST_TIMEOUT + SLACK, "the crowd to be sent away")
    finally:
        for connection in crowd:
            connection.close()


@pytest.mark.slow
def test_an_idle_connection_is_kept_for_a_while(hasty: Web) -> None:
    with connected(hasty) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer, seconds = trickle(connection, b"", b"", deadline=KEEPALIVE_SECONDS + SLACK)
    assert answer.startswith(b"HTTP/1.1 200 ") and seconds > KEEPALIVE_SECONDS - 1
