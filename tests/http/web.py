"""The real web processes on a loopback port, as the controller starts them, with the stand-in controller behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
from conformance import Document
from pydantic import Field
from stand_in import StandInController
from waiting import wait_until

from para_attn_server.core.arguments.model import arguments_model
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.job import Job
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.control import PoolView
from para_attn_server.http.dialects import make_dialects
from para_attn_server.http.kit.dialect import Dialects
from para_attn_server.http.kit.openapi import add_document, document
from para_attn_server.stores.base import MODELS_DOCUMENT
from para_attn_server.stores.migrate import ensure_schema

PROBLEM_JSON = "application/problem+json"


def predict(
    prompt: str,
    output_path: str,
    width: Annotated[int, Field(ge=64, le=256, multiple_of=16)] = 128,
    steps: int = 20,
    anything: Any = None,
    seed: Annotated[int | None, Field(ge=0, le=2**32 - 1)] = None,
) -> None:
    """The predictor that the stand-in controller pretends to have."""


def dialects() -> Dialects:
    """All dialects, of a service that is never asked."""
    service: Any = None
    made = make_dialects(service)
    add_document(made, service)
    return made


SCHEMA = request_schema(arguments_model(predict))
DOCUMENT = Document(document(dialects(), {"stand-in": SCHEMA}))


class Web:
    """gunicorn with a stand-in controller. `controller` decides what happens to jobs; every answer is checked for form.

    That is: it is one of the OpenAPI document's, and errors are as RFC 9457 wants them.
    """

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.settings = Settings(
            model="stand-in", state_dir=folder / "state", output_dir=folder / "outputs", port=0, **changes
        )
        self.settings.state_dir.mkdir()
        self.settings.output_dir.mkdir()
        ensure_schema(self.settings.state_dir / "jobs.sqlite3")
        self.controller = StandInController(self.settings.state_dir)
        self.put_schema()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.listener.getsockname()[1]
        self.log_file = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            self.command(os.getpid()),
            pass_fds=[self.listener.fileno()],
            env=self.settings.as_environment(os.environ),
            stderr=self.log_file,
            process_group=0,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=70)
        wait_until(self._answers, 30, "the web to answer")
        wait_until(lambda: self.controller.links == self.settings.web_workers, 10, "the control links")

    def command(self, parent: int) -> list[str]:
        """How the controller starts gunicorn."""
        return [sys.executable, "-m", "para_attn_server.http", str(self.listener.fileno()), str(parent)]

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def put_schema(self, schema: dict[str, Any] | None = SCHEMA) -> None:
        """Write the schema document, as the controller does when ranks are ready; None: as at a new model's start."""
        known = {"words": "stand-in", "version": "1", "served": True, "schema": schema, "output_suffix": ".png"}
        entry = {"name": "stand-in", "label": "stand-in", **known}
        self.controller.store.put_document(MODELS_DOCUMENT, {"models": [entry]})

    def new_controller(self, view: PoolView | None = None) -> None:
        """The controller dies and another one comes."""
        self.controller.close()
        self.controller = StandInController(self.settings.state_dir, view)
        wait_until(lambda: self.controller.links == self.settings.web_workers, 15, "the control links")

    def log(self) -> str:
        """All that the web has logged."""
        size = os.fstat(self.log_file.fileno()).st_size
        return os.pread(self.log_file.fileno(), size, 0).decode(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """The web worker processes."""
        return psutil.Process(self.process.pid).children()

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request, its answer checked: an error is problem+json and tells nothing about the server's inside."""
        answer = self.client.request(method, path, **options)
        DOCUMENT.check(answer)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].endswith("frame-ancestors 'none'")
        shown_to = "cross-origin" if self.settings.cors_origin else "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == shown_to
        if answer.status_code >= 400 and method != "HEAD":
            self.check_problem(answer)
        return answer

    def check_problem(self, answer: httpx.Response) -> None:
        """RFC 9457, without a traceback or a path of the server."""
        assert answer.headers["content-type"] == PROBLEM_JSON
        body = answer.json()
        assert {"type", "title", "status", "detail", "instance"} <= set(body)
        assert body["status"] == answer.status_code
        for inside in ("Traceback", ".py", str(self.settings.state_dir.parent), "site-packages", "sqlite3.O"):
            assert inside not in answer.text, answer.text

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST."""
        return self.ask("POST", path, **options)

    def submit(self, **arguments: Any) -> str:
        """A new job's id."""
        answer = self.post("/generate", json={"prompt": "a", **arguments})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["request_id"]
        return job_id

    def started(self, **arguments: Any) -> str:
        """A job that runs."""
        job_id = self.submit(**arguments)
        self.controller.start(job_id)
        return job_id

    def done(self, data: bytes = b"picture") -> str:
        """A job that has succeeded."""
        job_id = self.started()
        self.controller.succeed(job_id, data)
        return job_id

    def job(self, job_id: str) -> Job:
        """The job's row."""
        job = self.controller.store.get(job_id)
        assert job is not None
        return job

    def close(self) -> None:
        """Stop everything."""
        self.process.kill()  # the workers follow: they die with their master
        self.process.wait(10)
        self.client.close()
        self.listener.close()
        self.controller.close()
        self.log_file.close()
