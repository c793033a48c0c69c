"""The servers that `peers.py` compares, behind one face: a job, some queued jobs, their notes, their processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import psutil
from measure import Connection, roles
from processes import Server, StampReader
from server import HERE, stop, wait_until
from sleeping import STAMPS_VARIABLE

WORK = {"steps": 5, "delay": 0.02}
_IDLE = 3.0


class Contestant(Protocol):
    """One server, ready."""

    name: str

    def job(self, number: int) -> tuple[float, float]:
        """One job from its POST to its output: when the POST was sent, when the output was there."""

    def queued(self, numbers: list[int]) -> None:
        """Jobs that are all waiting when the first one ends; returns when all are done."""

    def notes(self) -> list[dict[int, dict[str, Any]]]:
        """Per rank, by number: what the worker has noted since the last call."""

    def front(self) -> list[int]:
        """Its processes without the worker's."""

    def close(self) -> None:
        """Stop it."""


class Ours:
    """This server."""

    def __init__(self, folder: Path, ranks: int) -> None:
        self.name = f"para-attn-server, {ranks} rank{'s' * (ranks > 1)}"
        folder.mkdir()
        self._server = Server(folder, "SleepingPredictor", None, ranks=ranks)

    def job(self, number: int) -> tuple[float, float]:
        return self._server.job(**WORK, seed=number)

    def queued(self, numbers: list[int]) -> None:
        for job_id in [self._server.submit(**WORK, seed=number) for number in numbers]:
            self._server.finish(job_id)

    def notes(self) -> list[dict[int, dict[str, Any]]]:
        return self._server.stamps.read()

    def front(self) -> list[int]:
        return roles(self._server.process.pid).front

    def close(self) -> None:
        self._server.close()


class _Script:
    """A server that is a script beside this file."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self._stamps = StampReader(folder, 1)
        environment = {**os.environ, STAMPS_VARIABLE: str(folder)}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def notes(self) -> list[dict[int, dict[str, Any]]]:
        return self._stamps.read()

    def close(self) -> None:
        children = psutil.Process(self._process.pid).children(recursive=True)
        stop(self._process, 10)
        for child in children:
            if child.is_running():
                child.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Floor(_Script):
    """`floor.py`."""

    name = "floor (standard library)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, [sys.executable, str(HERE / "floor.py")])
        assert self._process.stdout is not None
        self._connection = Connection("127.0.0.1", int(self._process.stdout.readline()))

    def job(self, number: int) -> tuple[float, float]:
        sent = time.monotonic()
        self._finish(self._submit(number))
        return sent, time.monotonic()

    def queued(self, numbers: list[int]) -> None:
        for job_id in [self._submit(number) for number in numbers]:
            self._finish(job_id)

    def front(self) -> list[int]:
        return [self._process.pid]

    def close(self) -> None:
        self._connection.close()
        super().close()

    def _submit(self, number: int) -> str:
        return str(self._connection.json("POST", "/generate", {**WORK, "seed": number})[1]["request_id"])

    def _finish(self, job_id: str) -> None:
        self._connection.request("GET", f"/get_output/{job_id}?wait=60")


class LitServe(_Script):
    """`litserve_peer.py`, in the environment of that interpreter."""

    name = "LitServe"

    def __init__(self, folder: Path, python: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        super().__init__(folder, [python, str(HERE / "litserve_peer.py"), str(self._port)])
        self._connection: Connection = wait_until(self._connect, "LitServe to listen")
        wait_until(lambda: self._post(self._connection, 0) == 200, "LitServe's worker")
        self._worker = self.notes()[0][0]["pid"]
        self._used = time.monotonic()

    def job(self, number: int) -> tuple[float, float]:
        if time.monotonic() - self._used > _IDLE:  # uvicorn hangs up on a connection that was idle for 5 s
            self._connection.close()
            self._connection = Connection("127.0.0.1", self._port)
        sent = time.monotonic()
        self._post(self._connection, number)
        self._used = time.monotonic()
        return sent, self._used

    def queued(self, numbers: list[int]) -> None:
        connections = [Connection("127.0.0.1", self._port) for _ in numbers]
        threads = [
            threading.Thread(target=self._post, args=(connection, number))
            for connection, number in zip(connections, numbers, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread, connection in zip(threads, connections, strict=True):
            thread.join()
            connection.close()

    def front(self) -> list[int]:
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [self._process.pid, *(child.pid for child in children if child.pid != self._worker)]

    def close(self) -> None:
        self._connection.close()
        super().close()

    def _connect(self) -> Connection | None:
        try:
            return Connection("127.0.0.1", self._port)
        except OSError:
            return None

    def _post(self, connection: Connection, number: int) -> int:
        status, body = connection.request("POST", "/predict", {**WORK, "seed": number})
        assert status != 200 or json.loads(body)["output"] == f"{number}\n"
        return status
