"""A log that nobody reads: pipes, terminals and sockets that are full hold nobody up, and lines are whole or lost."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from para_attn_server.core import outlet
from para_attn_server.core.outlet import Outlet

LONG = 300_000
Ends = tuple[int, int]


def make_pipe(_folder: Path) -> Ends:
    return os.pipe()


def make_fifo(folder: Path) -> Ends:
    os.mkfifo(folder / "log")
    reading = os.open(folder / "log", os.O_RDONLY | os.O_NONBLOCK)
    return reading, os.open(folder / "log", os.O_WRONLY)


def make_socket(_folder: Path) -> Ends:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def make_terminal(_folder: Path) -> Ends:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    return ours, theirs


@pytest.fixture(params=[make_pipe, make_fifo, make_socket, make_terminal])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ends]:
    """Where the log is read, and where it is written."""
    make: Callable[[Path], Ends] = request.param
    reading, writing = make(tmp_path)
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with nothing lost, and gives a reader no second chance within it."""
    monkeypatch.setattr(Outlet, "lost", 0)
    monkeypatch.setattr(outlet, "EVERY", 60.0)


def drain(fd: int) -> bytes:
    read = b""
    while select.select([fd], [], [], 0)[0] and (data := os.read(fd, 1 << 20)):
        read += data
    return read


def fill(log: Outlet, size: int = 100) -> int:
    """Write numbered lines until nothing goes for a while; how many were written."""
    number = refused = 0
    while refused < 20:
        log.write(b"%06d %s\n" % (number, b"x" * size))
        refused = 0 if log.flows else refused + 1
        number += 1
        assert number < 20_000
    return number


@pytest.mark.parametrize("reopened", [True, False])
def test_a_full_log_costs_lines_and_no_time(ends: Ends, reopened: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = ends
    if not reopened:  # another user's
        monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError()))
    log, began = Outlet(writing), time.monotonic()
    written = fill(log)
    assert time.monotonic() - began < 5 and Outlet.lost >= 20
    assert os.get_blocking(writing), "the flags are other processes' too"
    text = drain(reading)
    log.write(b"last\n")
    lines = (text + drain(reading)).splitlines()
    assert log.flows and lines.pop() == b"last"
    assert len(lines) + Outlet.lost == written
    assert {len(line) for line in lines} == {107}, "a line is whole, or not there"
    assert lines == sorted(set(lines))


def test_a_line_that_has_been_begun_is_ended_before_the_next(ends: Ends) -> None:
    reading, writing = ends
    log = Outlet(writing)
    log.write(b"y" * LONG + b"\n")
    log.write(b"lost\n")
    assert Outlet.lost == 1
    text = b""
    while not text.endswith(b"next\n"):
        text += drain(reading)
        log.write(b"next\n")
        text += drain(reading)
    assert text.split(b"\n")[0] == b"y" * LONG and set(text.splitlines()[1:]) == {b"next"}


def test_an_end_waits_for_the_rest_of_a_line_and_not_for_long(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "AT_THE_END", 0.15)
    log = Outlet(ends[1], timeout=0.01)
    log.write(b"y" * LONG + b"\n")
    began = time.monotonic()
    log.finish()
    assert 0.1 < time.monotonic() - began < 2


def test_what_takes_the_place_of_the_descriptor_gets_the_lines(tmp_path: Path) -> None:
    (reading, writing), other = os.pipe(), os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    log = Outlet(writing)
    log.write(b"one\n")
    os.dup2(other, writing)
    log.write(b"two\n")
    assert (drain(reading), (tmp_path / "log").read_bytes()) == (b"one\n", b"two\n")
    for fd in (reading, writing, other):
        os.close(fd)


PATCHED = "from gevent import monkey; monkey.patch_all()"
LOGGING = """
import logging, os, sys
from para_attn_server.core.logs import configure_logging
configure_logging("info", {log_format!r}, "x")
for number in range(700):
    logging.warning("line %d %s", number, "x" * 100)
    print("printed", number, flush=True)
    print("error", number, file=sys.stderr)
os.write(int(sys.argv[1]), b"done")
sys.stdin.read(1)
logging.warning("read again")
"""


@pytest.mark.parametrize(("before", "log_format"), [(PATCHED, "json"), ("", "console")])
def test_a_process_whose_log_nobody_reads_goes_on_and_says_what_was_lost(before: str, log_format: str) -> None:
    """stdout and stderr of one pipe; gevent as in web workers."""
    (reading, writing), (told, tell) = os.pipe(), os.pipe()
    command = [sys.executable, "-c", f"{before}\n{LOGGING.format(log_format=log_format)}", str(tell)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing, stderr=writing, pass_fds=[tell]) as process:
        for fd in (writing, tell):
            os.close(fd)
        assert select.select([told], [], [], 30)[0] and os.read(told, 4) == b"done"
        text = drain(reading)
        process.communicate(b"x", timeout=60)
    lines = (text + drain(reading)).decode().splitlines()
    for fd in (reading, told):
        os.close(fd)
    assert process.returncode == 0
    said = next(line for line in lines if "log lines were lost" in line)
    assert "read again" in lines[lines.index(said) - 1]
    if log_format == "json":
        records = [json.loads(line) for line in lines]
        assert sum("lost" not in record for record in records) + json.loads(said)["lost"] == 2101
