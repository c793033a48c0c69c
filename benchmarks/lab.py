"""A server to do harm to, the ledger of its jobs, and one fault at a time."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from ledger import Audit, Ledger, audit
from processes import Server
from server import RANKS, wait_until

ARGUMENTS = {"prompt": "a large red circle on the left on a blue background"}
STEPS = 20


class Lab:
    """The demo model, able to raise where it is told to, on a server of its own in `folder`. options: of the server."""

    def __init__(self, folder: Path, seed: int, **options: Any) -> None:
        folder.mkdir()
        self.folder = folder
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.server = Server(folder, "FaultyDemoPredictor", None, **options)
        self.log = self.server.log
        self._number = 0
        try:
            self.job_seconds = min(self._seconds() for _ in range(4))
        except BaseException:
            self.server.close()
            raise
        self.server.stamps.read()

    def _seconds(self) -> float:
        job_id, _ = self.begin()
        sent = time.monotonic()
        self.end(job_id)
        return time.monotonic() - sent

    def begin(self, *may: str, **further: Any) -> tuple[str, int]:
        """Queue a job: its id, and its number, which is its seed. may: as the ledger takes it."""
        self._number += 1
        arguments = {**ARGUMENTS, "num_inference_steps": STEPS, "seed": self._number, **further}
        job_id = self.server.submit(**arguments)
        self.ledger.accepted(job_id, arguments, *may)
        return job_id, self._number

    def strike(self, number: int) -> tuple[float, int]:
        """At a random moment of a job's run send a signal to a random rank: when (Unix seconds), and which."""
        wait_until(lambda: self.server.group().get("job_id"), "a job to be started", every=0.002)
        time.sleep(self.rng.uniform(0, 0.9 * self.job_seconds))
        rank = self.rng.randrange(RANKS)
        pid = self.server.group()["ranks"][rank]["pid"]
        struck = time.time()
        os.kill(pid, number)
        return struck, rank

    def end(self, job_id: str) -> dict[str, Any]:
        """Wait for the end of a job, and write it down."""
        code, body = self.server.end_of(job_id)
        status = {200: "succeeded", 410: "canceled", 500: "failed"}.get(code, f"answered with {code}")
        self.ledger.told(job_id, {**body, "status": status})
        return body

    def ready_after(self, moment: float) -> float:
        """Unix seconds at which the group was first ready after that moment."""
        at: float = self.log.wait_for("worker group is ready", moment)["at"]
        return at

    def close(self) -> Audit:
        """Stop the server and go through its books."""
        self.server.close()
        return audit(self.ledger, self.folder / "state", self.folder / "outputs")
