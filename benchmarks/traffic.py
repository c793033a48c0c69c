"""Steady requests from several clients while ranks die under them: is anybody turned away?"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

from lab import ARGUMENTS, STEPS, Lab
from measure import Connection, spread
from table import Row, row_of

POLLS, SUBMITS = 50.0, 2.0
"""Requests a second."""
ANSWERED = 500.0
"""Target in milliseconds, p99."""
_SOUND = (200, 202)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Times are Unix seconds; status 0 is no answer at all."""

    sent: float
    answered: float
    status: int

    def within(self, windows: list[tuple[float, float]]) -> bool:
        """Whether it was in flight during one of these."""
        return any(self.sent < end and self.answered > start for start, end in windows)


class Steady(threading.Thread):
    """Makes a request so many times a second, on a connection of its own, until `stop` is set."""

    def __init__(self, lab: Lab, rate: float, request: Callable[[Connection], int]) -> None:
        super().__init__(daemon=True)
        self._lab, self._interval, self._request = lab, 1 / rate, request
        self.done: list[Request] = []
        self.stop = threading.Event()

    def run(self) -> None:
        connection, due = Connection(*self._lab.server.address), time.monotonic()
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            sent = time.time()
            try:
                status = self._request(connection)
            except (OSError, ValueError, IndexError):  # cut off, or cut short
                status, connection = 0, Connection(*self._lab.server.address)
            self.done.append(Request(sent, time.time(), status))
            due = max(due + self._interval, time.monotonic() - self._interval)  # what was missed is not made up for


def polls() -> Callable[[Connection], int]:
    """Requests that change nothing, in turn."""
    paths = cycle(["/server_status", "/readyz", "/schema"])
    return lambda connection: connection.request("GET", next(paths))[0]


def submits(lab: Lab, seeds: range) -> Callable[[Connection], int]:
    """Jobs, each in the ledger if it was accepted."""
    numbers = iter(seeds)

    def submit(connection: Connection) -> int:
        arguments = {**ARGUMENTS, "num_inference_steps": STEPS, "seed": next(numbers)}
        status, body = connection.json("POST", "/generate", arguments)
        if status == 202:
            lab.ledger.accepted(body["request_id"], arguments)
        return status

    return submit


def requests_while_healing(lab: Lab, kills: int) -> list[Row]:
    """Kills a rank under a job so many times, with traffic; judged is what was in flight while the group healed."""
    clients = [Steady(lab, POLLS, polls()), Steady(lab, SUBMITS, submits(lab, range(10**6, 2 * 10**6)))]
    for client in clients:
        client.start()
    try:
        windows = [_kill_under_a_job(lab) for _ in range(kills)]
    finally:
        for client in clients:
            client.stop.set()
            client.join(60)
    for job_id in [job for job, entry in lab.ledger.entries.items() if entry.told is None]:
        lab.end(job_id)
    polled, submitted = ([request for request in client.done if request.within(windows)] for client in clients)
    meanwhile = polled + submitted
    refused = sum(request.status not in (0, *_SOUND) for request in meanwhile)
    latency = spread([1000 * (request.answered - request.sent) for request in meanwhile])
    figure = f"requests while a group heals, {POLLS:g} polls and {SUBMITS:g} jobs a second: refused"
    return [
        Row(figure, "", refused, len(meanwhile), target=0),
        Row("... without a response", "", sum(request.status == 0 for request in meanwhile), len(meanwhile), target=0),
        row_of("... until answered", "ms", latency, p99=ANSWERED),
        Row("... jobs accepted meanwhile", "", sum(r.status == 202 for r in submitted), len(submitted)),
    ]


def _kill_under_a_job(lab: Lab) -> tuple[float, float]:
    """From the kill to the group's being ready (Unix seconds). Returns when the job that was hit has ended: to be hit
    again would make it poison."""
    struck, _ = lab.strike(signal.SIGKILL)
    ready = lab.ready_after(struck)
    for lost in lab.log.records("a run is lost", struck):
        lab.server.end_of(lost["job"])
    return struck, ready
