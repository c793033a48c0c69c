"""A server that is used by several clients, hit by faults, and started again and again on one state directory."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
from census import Census
from clients import SoakClient, orders
from ledger import Ledger
from measure import Roles
from server import ServerProcess, wait_until

from para_attn_server import Client
from para_attn_server.client import ClientError

CLIENTS = 6
MEAN_BETWEEN_FAULTS, SHARE = 16, 1 / 40
"""Jobs from the end of one fault to the next; no more than that share of a phase's jobs."""
FAULTS = ("rank", "web worker", "gunicorn master", "forkserver", "controller", "restart")
_LOOK_EVERY = 0.5
_TIMEOUT = 120.0


class Endurance:
    """The server, its ledger, its census; and what was done to it: faults by kind, exit codes of its orderly ends."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.ledger, self.census = Ledger(), Census()
        self.faults: Counter[str] = Counter()
        self.exits: list[int] = []
        self._coming: list[str] = []
        self.state_dir, self.outputs, self.temporary = folder / "state", folder / "outputs", folder / "tmp"
        self.temporary.mkdir()
        self.runs = 0
        self.server = self._start(0)

    def _start(self, port: int) -> ServerProcess:
        self.runs += 1
        return ServerProcess(
            "demo",
            self.folder / f"server-{self.runs}.log",
            {"TMPDIR": str(self.temporary)},
            **{"port": port, "state-dir": self.state_dir, "output-dir": self.outputs},
            **{"max-attempts": 100},  # a job may be hit by more than two of our kills
        )

    def phase(self, jobs: int, faults: bool) -> None:
        """That many jobs from all clients, with faults or without; returns when the server is idle again.

        Raises what a client met beyond what the server may do to it.
        """
        arguments = orders(jobs, self.rng.randrange(10**9))
        clients = [
            SoakClient(self.server.url, self.ledger, arguments[index::CLIENTS], self.rng.randrange(10**9))
            for index in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        furthest = 2 * max(1, min(MEAN_BETWEEN_FAULTS, int(jobs * SHARE))) - 1
        following = self.ledger.ended + self.rng.randint(1, furthest)
        while living := [client for client in clients if client.is_alive()]:
            if faults and self.ledger.ended >= following:
                self._strike(self._next_fault())
                following = self.ledger.ended + self.rng.randint(1, furthest)
            with contextlib.suppress(psutil.Error, StopIteration):  # no gunicorn, or no forkserver, just now
                self.census.look(self.server.roles(), self.ledger.ended)
            living[0].join(_LOOK_EVERY)
        for client in clients:
            if client.trouble is not None:
                raise client.trouble
        wait_until(self._idle, "the server to be idle", _TIMEOUT, every=0.2)

    def _next_fault(self) -> str:
        """At random, and each kind as often as the others."""
        if not self._coming:
            self._coming = self.rng.sample(FAULTS, len(FAULTS))
        return self._coming.pop()

    def _strike(self, fault: str) -> None:
        """Do one thing to the server, and wait until it answers again."""
        time.sleep(self.rng.uniform(0, 0.5))
        if fault == "restart":
            self.stop()
        else:
            with contextlib.suppress(psutil.NoSuchProcess):  # what was done before has ended it just now
                psutil.Process(self._victim(fault, self._all_there())).kill()
            if fault == "controller":
                self.server.process.wait()
        self.faults[fault] += 1
        if self.server.process.poll() is not None:
            self.server.connection.close()
            self.server = self._start(self.server.address[1])
        with Client(self.server.url) as client:
            client.wait_ready(_TIMEOUT)

    def _all_there(self) -> Roles:
        """Who is who, once all are there."""

        def look() -> Roles | None:
            try:
                who = self.server.roles()
            except (psutil.Error, StopIteration):
                return None
            return who if who.web and who.ranks else None

        who: Roles = wait_until(look, "all processes to be there")
        return who

    def _victim(self, fault: str, who: Roles) -> int:
        one = {"gunicorn master": who.master, "forkserver": who.forkserver, "controller": who.controller}
        several = {"rank": who.ranks, "web worker": who.web}
        return self.rng.choice(several[fault]) if fault in several else one[fault]

    def stop(self) -> None:
        """SIGTERM; the exit code goes into `exits`."""
        self.server.process.send_signal(signal.SIGTERM)
        self.exits.append(self.server.process.wait(_TIMEOUT))

    def _idle(self) -> bool:
        """No job is left, and the controller has replaced whatever was killed."""
        try:
            with Client(self.server.url) as client:
                status = client.server_status()
            living = self.server.roles().ranks
        except (ClientError, psutil.Error, StopIteration):
            return False
        waiting = status["queue"]["queued"] + status["queue"]["running"]
        ready = all(group["state"] == "ready" for group in status["groups"])
        told = [rank["pid"] for group in status["groups"] for rank in group["ranks"]]
        return not waiting and ready and sorted(told) == sorted(living)

    def close(self) -> None:
        """Stop the server if it still runs."""
        self.server.close()
