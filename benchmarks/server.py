"""Starts a real server in a process of its own, and reads its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from measure import Connection, Roles, roles

HERE = Path(__file__).parent
RANKS = 2
_TIMEOUT = 120.0


def wait_until(holds: Callable[[], Any], what: str, timeout: float = _TIMEOUT, every: float = 0.01) -> Any:
    """The first true value; TimeoutError after `timeout` seconds."""
    ends = time.monotonic() + timeout
    while not (value := holds()):
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(every)
    return value


def stop(process: subprocess.Popen[Any], timeout: float) -> None:
    """SIGTERM, then SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def workplace(given: Path | None) -> Iterator[Path]:
    """A folder for a server's files: that one, made if need be and kept; or a temporary one where None is given."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            yield Path(folder)
    else:
        given.mkdir(parents=True)
        yield given.absolute()


class Log:
    """The JSON records of a server's log file, read as they come. `at` is added to each: its time in Unix seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records: list[dict[str, Any]] = []
        self._position = 0

    def records(self, event: str, since: float = 0.0) -> list[dict[str, Any]]:
        """The records of that event that were logged at or after `since`, in order."""
        self._read()
        return [record for record in self._records if record.get("event") == event and record["at"] >= since]

    def wait_for(self, event: str, since: float, timeout: float = _TIMEOUT) -> dict[str, Any]:
        """The first record of that event at or after `since`; TimeoutError where none comes."""
        wait_until(lambda: self.records(event, since), f"'{event}' in the log", timeout)
        return self.records(event, since)[0]

    def _read(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                record = _record(line)
                if record is not None:
                    self._records.append({**record, "at": datetime.fromisoformat(record["timestamp"]).timestamp()})


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; of one that begins with what a process was writing when it was killed, the one after it."""
    begin = line.find(b'{"')
    while begin >= 0:
        with suppress(ValueError):
            record = json.loads(line[begin:])
            if "timestamp" in record:
                return dict(record)
        begin = line.find(b'{"', begin + 1)
    return None


class ServerProcess:
    """`para-attn-server --model MODEL --OPTION=VALUE ...` on two CPU ranks, logging JSON to `log`.

    first_202, ready: seconds from the command until new work is taken, and until a group can work on it. Raises
    RuntimeError where the server ends instead.
    """

    def __init__(self, model: str, log: Path, environment: dict[str, str] | None = None, **options: Any) -> None:
        self.log = Log(log)
        options = {"model": model, "port": 0, "num-devices": RANKS, "log-format": "json", **options}
        self.started = time.monotonic()
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "para_attn_server", *(f"--{key}={value}" for key, value in options.items())],
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **(environment or {})},
                stdout=file,
                stderr=file,
            )
        try:
            self._watch_start()
        except BaseException as error:
            stop(self.process, 10)
            error.add_note(log.read_text()[-10_000:])
            raise

    def _watch_start(self) -> None:
        self.url: str = wait_until(self._served_url, "the server to serve")
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        self.address = (host, int(port))
        self.connection = Connection(*self.address)
        wait_until(lambda: self.connection.request("GET", "/readyz")[0] == 200, "the schema to be known")
        self.first_202 = time.monotonic() - self.started
        wait_until(lambda: self.group().get("state") in ("ready", "busy"), "the group to be set up")
        self.ready = time.monotonic() - self.started

    def _served_url(self) -> str | None:
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{self.log.path.read_text()}")
        return next((record["url"] for record in self.log.records("serving")), None)

    def group(self) -> dict[str, Any]:
        """The first group as /server_status shows it; empty while the controller does not respond."""
        _, body = self.connection.json("GET", "/server_status")
        return dict(next(iter(body.get("groups", [])), {}))

    def loop_lag(self) -> dict[str, float]:
        """How many seconds the controller's loop came late, as /server_status shows it."""
        connection = Connection(*self.address)  # of its own: the server closes one that was idle for long
        try:
            return dict(connection.json("GET", "/server_status")[1]["loop_lag"])
        finally:
            connection.close()

    def wait_ready(self) -> None:
        """Return when the group waits for a job."""
        wait_until(lambda: self.group().get("state") == "ready", "the group to be idle")

    def submit(self, **arguments: Any) -> str:
        """POST /generate; the job's id."""
        status, body = self.connection.json("POST", "/generate", arguments)
        if status != 202:
            raise RuntimeError(f"POST /generate answered {status}: {body}")
        return str(body["request_id"])

    def end_of(self, job_id: str) -> tuple[int, dict[str, Any]]:
        """GET /request_status with ?wait, until the job has ended: status code and body."""
        while True:
            status, body = self.connection.json("GET", f"/request_status/{job_id}?wait=60")
            if status != 202:
                return status, body

    def step_of(self, job_id: str) -> int:
        """Steps done, as far as told."""
        return self.connection.json("GET", f"/request_status/{job_id}")[1].get("step") or 0

    def roles(self) -> Roles:
        """Who is who among its processes."""
        return roles(self.process.pid)

    def close(self) -> None:
        """Stop the server."""
        self.connection.close()
        stop(self.process, 30)
