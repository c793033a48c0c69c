"""Instruments: a light HTTP connection, percentiles, and what /proc knows of a process. Starts nothing."""

from __future__ import annotations

import json
import os
import socket
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

STAMPS_VARIABLE = "BENCHMARK_STAMPS"
"""The environment variable that names the folder of the ranks' notes (predictors.py)."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Connection:
    """One keep-alive connection, so light that what is measured is the server and not the client."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"{host}:{port}"

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of the answer, which must carry its length."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(data)}\r\n"
        kind = "Content-Type: application/json\r\n" if data else ""
        self._socket.sendall(f"{head}{kind}\r\n".encode() + data)
        received = self._receive()
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head_received, _, rest = received.partition(b"\r\n\r\n")
        length = int(head_received.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        parts, missing = [rest], length - len(rest)
        while missing > 0:
            parts.append(self._receive())
            missing -= len(parts[-1])
        return int(head_received.split(b" ", 2)[1]), b"".join(parts)

    def json(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded body."""
        status, data = self.request(method, path, body)
        return status, json.loads(data)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


@dataclass(frozen=True, slots=True)
class Spread:
    """p50 and p99 of some samples, and how many there were."""

    p50: float
    p99: float
    count: int


def spread(samples: list[float]) -> Spread:
    """p99 is the nearest rank: of fewer than 100 samples it is the largest."""
    ordered = sorted(samples)
    return Spread(statistics.median(ordered), ordered[-(-99 * len(ordered) // 100) - 1], len(ordered))


def cpu_seconds(*pids: int) -> float:
    """User and system time that these processes have used, their ended children left out (/proc/PID/stat)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def pss_megabytes(*pids: int) -> float:
    """Memory of these processes, shared pages counted in parts."""
    return sum(_kibibytes(pid, "Pss") for pid in pids) / 1024


def anonymous_kibibytes(pid: int) -> int:
    """Memory that holds no file, pages that are still shared with the process it was forked from included.

    This grows with what the process asks for, and not with its writing to a shared page, which is copied then.
    """
    return _kibibytes(pid, "Anonymous")


def _kibibytes(pid: int, what: str) -> int:
    """A line of /proc/PID/smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


@dataclass(frozen=True, slots=True)
class Roles:
    """The processes of a running server by what they do."""

    controller: int
    master: int
    web: list[int]
    forkserver: int
    ranks: list[int]

    @property
    def front(self) -> list[int]:
        """Controller, gunicorn master and web workers."""
        return [self.controller, self.master, *self.web]


def roles(controller: int) -> Roles:
    """Who is who below the controller of a server that is ready; StopIteration where somebody is missing."""
    children = {child.pid: _command(child) for child in psutil.Process(controller).children()}
    master = next(pid for pid, line in children.items() if "para_attn_server.http" in line)
    forkserver = next(pid for pid, line in children.items() if "forkserver" in line)
    return Roles(controller, master, _children(master), forkserver, _children(forkserver))


def _command(process: psutil.Process) -> str:
    """Its command line; empty once it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children() if _command(child)]


class Watch:
    """Time and CPU time since it was made."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._cpu, self._wall = cpu_seconds(*pids), time.monotonic()

    def cpu(self) -> float:
        """CPU seconds since."""
        return cpu_seconds(*self._pids) - self._cpu

    def share(self) -> float:
        """CPU as a share of one core since."""
        return self.cpu() / (time.monotonic() - self._wall)
