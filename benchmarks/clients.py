"""Clients that submit job after job, cancel some, and keep the ledger."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from ledger import Ledger

from para_attn_server import Client
from para_attn_server.client import ClientError

CANCELED = 0.15
"""Share of the jobs whose cancel is asked for, at a random moment of their first 300 ms."""
LONGEST = 180.0
"""Seconds for which a client goes on repeating one request."""
_PROMPTS = ("a red circle", "a large blue square on the left", "a green star and a red square", "a small white star")


def orders(count: int, seed: int) -> list[dict[str, Any]]:
    """Arguments of so many short jobs, out of 48 that come again and again: the same must give the same picture."""
    rng = random.Random(seed)
    sizes = {"height": 64, "width": 64}
    return [
        {
            "prompt": rng.choice(_PROMPTS),
            "num_inference_steps": rng.randint(1, 4),
            "seed": rng.randint(1, 3),
            **sizes,
        }
        for _ in range(count)
    ]


class SoakClient(threading.Thread):
    """Submits its jobs one after the other, each when the one before it has ended. trouble: what ended it early."""

    def __init__(self, url: str, ledger: Ledger, jobs: list[dict[str, Any]], seed: int) -> None:
        super().__init__(daemon=True)
        self._url, self._ledger, self._jobs = url, ledger, jobs
        self._rng = random.Random(seed)
        self.trouble: Exception | None = None

    def run(self) -> None:
        try:
            with Client(self._url, timeout=20, retry_for=LONGEST) as client:
                for arguments in self._jobs:
                    self._one(client, arguments)
        except Exception as error:
            self.trouble = error

    def _one(self, client: Client, arguments: dict[str, Any]) -> None:
        cancels, pause = self._rng.random() < CANCELED, self._rng.uniform(0, 0.3)
        try:
            job_id = client.submit(**arguments)
        except ClientError as error:
            self._ledger.was_refused(str(error))
            return
        self._ledger.accepted(job_id, arguments)
        if cancels:
            time.sleep(pause)
            self._cancel(client, job_id)
        while (status := client.status(job_id, wait=20))["status"] in ("queued", "running"):
            time.sleep(0.05)  # a server that stops answers at once
        self._ledger.told(job_id, status)

    def _cancel(self, client: Client, job_id: str) -> None:
        """Ask; what the server promises by its answer is what must come."""
        try:
            promised = client.cancel(job_id)["status"]
        except ClientError:  # it had ended; or the answer was lost on the way, and the order may have been heard
            self._ledger.may(job_id, "succeeded", "canceled")
        else:
            self._ledger.may(job_id, *(["succeeded", "canceled"] if promised == "running" else [promised]))
