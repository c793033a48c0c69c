"""Jobs that go on being submitted while processes are killed, and the ledger of those that were accepted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import httpx
from serving import RunningServer

from para_attn_server import Client
from para_attn_server.client import ClientError, JobOptions


class Load(threading.Thread):
    """Submits jobs of the counting predictor until it is stopped. ledger: the seed of each job that was accepted.

    delay: seconds of a step. pause: seconds between two jobs. timeout, retry_for: of its client. writing: seconds that
    every other output takes to write, when its run is over. models: whose jobs they are, in turn; their outputs have
    the model's name in the second place. None stands for the server's only one.
    """

    def __init__(
        self,
        url: str,
        delay: float,
        pause: float,
        timeout: float,
        retry_for: float,
        writing: float = 0.0,
        models: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.writing = writing
        self.url, self.delay, self.pause, self.timeout, self.retry_for = url, delay, pause, timeout, retry_for
        self.models = models
        self.ledger: dict[str, int] = {}
        self.stop = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            with Client(self.url, timeout=self.timeout, retry_for=self.retry_for) as client:
                options: JobOptions = {} if self.models is None else {"model": self._model(number)}
                try:
                    arguments = {"seed": number, "steps": 10, "delay": self.delay, "text": str(number)}
                    if self.writing:
                        arguments["writing"] = self.writing * (number % 2)
                    job_id = client.submit(options=options, **arguments)
                except ClientError:
                    continue  # never accepted: nothing to account for
            self.ledger[job_id] = number
            self.stop.wait(self.pause)

    def _model(self, number: int) -> str:
        assert self.models is not None
        return self.models[number % len(self.models)]

    def check(self, server: RunningServer) -> dict[int, str]:
        """Every accepted job has succeeded, with what its seed makes of it, and there is no other; digests by seed."""
        digests: dict[int, str] = {}
        for job_id, number in self.ledger.items():
            result = server.result(job_id, wait=60)
            assert result.status_code == 200, (job_id, result.text)
            content = Path(result.json()["output_path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == result.json()["sha256"]
            assert content.split()[0] == str(number).encode()
            if self.models is not None:
                assert content.split()[1].decode() == result.json()["model"] == self._model(number)
            digests[number] = result.json()["sha256"]
        queue = server.get("/server_status").json()["queue"]
        assert queue["failed"] == queue["canceled"] == 0
        assert queue["succeeded"] == len(self.ledger), "a job that nobody knows of was made"
        return digests


def is_ready(server: RunningServer) -> bool:
    """Whether it takes jobs; a connection that fails while it starts is none."""
    try:
        return server.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
