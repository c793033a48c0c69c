"""A real server in a process of its own, as the command starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from waiting import wait_until

COUNTING = f"{Path(__file__).parents[1] / 'predictors' / 'counting.py'}:CountingPredictor"
CHAOS = f"{Path(__file__).parents[1] / 'predictors' / 'chaos.py'}:ChaosPredictor"
DRAWING = f"{Path(__file__).parents[1] / 'predictors' / 'drawing.py'}:DrawingPredictor"
CHAOS_STEP_TIMEOUT = 2.0
"""Seconds after which the tests' chaos server takes silence for a hang."""
BOUNDED = f"{Path(__file__).parents[1] / 'predictors' / 'bounded.py'}:BoundedPredictor"


class RunningServer:
    """`para-attn-server --model MODEL --port 0 ...`, with its log at hand.

    model: several, or none where settings have a `config`, as a list. settings: by their names in Settings. cwd: the
    working folder. `http` is a client of the native dialect.
    """

    def __init__(
        self,
        model: str | list[str],
        settings: dict[str, Any],
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        models, of_one = (model, {}) if isinstance(model, list) else ([model], {"num_devices": 2})
        settings = {"port": 0, **of_one, "log_format": "json", "preload": "torch.distributed", **settings}
        options = [f"--model={each}" for each in models]
        options += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if value is not True]
        options += [f"--{name.replace('_', '-')}" for name, value in settings.items() if value is True]
        self.log_file = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "para_attn_server", *options],
            stderr=self.log_file,
            stdout=self.log_file,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            process_group=0,  # as a shell starts it: os.killpg is a terminal's Ctrl-C
        )
        self._url = ""
        self.http = httpx.Client(timeout=90)

    def log(self) -> str:
        """All that the server has written to stdout and stderr."""
        size = os.fstat(self.log_file.fileno()).st_size
        return os.pread(self.log_file.fileno(), size, 0).decode(errors="replace")

    def records(self, event: str) -> list[dict[str, Any]]:
        """Log records of that event."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def complaints(self) -> list[str]:
        """Whatever it has logged as a warning or worse, or written without logging it."""
        lines = [line for line in self.log().splitlines() if line]
        return [
            line for line in lines if not line.startswith("{") or json.loads(line)["level"] not in ("info", "debug")
        ]

    @property
    def url(self) -> str:
        """Where it serves; waits for the server to say so."""
        if not self._url:
            records = wait_until(self._serving, 30, "the server to serve")
            self._url = records[0]["url"]
        return self._url

    def _serving(self) -> list[dict[str, Any]]:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
        return self.records("serving")

    def wait_ready(self, deadline: float = 90) -> None:
        """Return when the pool can take work."""
        wait_until(lambda: self._serving() and self.get("/readyz").status_code == 200, deadline, self.log())

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET; a connection refused while gunicorn starts is tried again."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST, likewise."""
        return self.request("POST", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""
        return self.http.request(method, self.url + path, **options)

    def submit(self, to: str | None = None, **kwargs: Any) -> str:
        """POST /generate; the request id. to: the model."""
        answer = self.post("/generate", json=kwargs, headers={} if to is None else {"Job-Model": to})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["request_id"]
        return job_id

    def result(self, job_id: str, wait: float = 60) -> httpx.Response:
        """GET /get_output, waiting for the end."""
        return self.get(f"/get_output/{job_id}", params={"wait": wait})

    def status(self, job_id: str) -> dict[str, Any]:
        """GET /request_status."""
        answer: dict[str, Any] = self.get(f"/request_status/{job_id}").json()
        return answer

    def wait_step(self, job_id: str, step: int) -> None:
        """Return when the job has done that many steps."""
        wait_until(lambda: (self.status(job_id).get("step") or 0) >= step, 30, f"step {step} of {job_id}")

    @contextlib.contextmanager
    def busy(self) -> Iterator[str]:
        """A job, whose id this is, keeps the first free group at work for as long as this lasts."""
        job_id = self.submit(steps=100000, delay=0.01)
        self.wait_step(job_id, 1)
        yield job_id
        assert self.post(f"/cancel/{job_id}").status_code == 200

    def group(self, index: int = 0) -> dict[str, Any]:
        """One group as /server_status shows it."""
        view: dict[str, Any] = self.get("/server_status").json()["groups"][index]
        return view

    def rank_pid(self, rank: int, group: int = 0) -> int:
        """The process id of a rank."""
        pid: int = self.group(group)["ranks"][rank]["pid"]
        return pid

    def processes(self) -> dict[str, psutil.Process]:
        """The controller, and of its children that are there now: gunicorn master, its first web worker, forkserver."""
        controller = psutil.Process(self.process.pid)
        found = {"controller": controller}
        for child in controller.children():
            with contextlib.suppress(psutil.Error):  # it may have ended since
                if "para_attn_server.http" in child.cmdline():
                    found["gunicorn master"] = child
                    found |= zip(["web worker"], child.children(), strict=False)
                elif any("forkserver" in part for part in child.cmdline()):
                    found["forkserver"] = child
        return found

    def terminate(self, deadline: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline)

    def kill(self) -> None:
        """SIGKILL to the controller alone."""
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        """Stop at once, whatever state it is in."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self.http.close()
        self.log_file.close()


def shared_server(
    model: str, folder: Path, env: dict[str, str] | None = None, cwd: Path | None = None, **settings: Any
) -> Iterator[RunningServer]:
    """For a fixture to yield from: a ready server whose own folders are in `folder`; stopped at the end."""
    server = RunningServer(
        model, {"state_dir": folder / "state", "output_dir": folder / "outputs", **settings}, env, cwd
    )
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()
