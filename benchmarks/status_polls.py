"""What one status poll costs, over a bare WSGI function under the same web worker.

`python benchmarks/status_polls.py [--polls N]`. The two servers are polled in turn, over one connection each, in
rounds; figures are medians of the rounds' means. CPU is the web worker's.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from measure import Connection, cpu_seconds, roles
from server import ServerProcess, stop, wait_until

ROUNDS = 10
TARGETS = {"running": 1.5, "queued": 1.75, "ended": 1.75}
MODEL = f"{Path(__file__).with_name('predictors.py')}:SleepingPredictor"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--polls", type=int, default=4000, help="polls of each kind")
    polls = parser.parse_args().polls // ROUNDS
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, raw_web() as raw:
        server = ServerProcess(
            MODEL,
            Path(folder) / "log",
            {"BENCHMARK_STAMPS": folder},
            **{"state-dir": f"{folder}/state", "output-dir": f"{folder}/outputs", "web-workers": 1},
        )
        try:
            (web,) = roles(server.process.pid).web
            found = measure(polls, raw, (*server.address, web), jobs(server.connection))
        finally:
            stop(server.process, 30)
    print("| poll of | wall | over a raw WSGI function | target | CPU | over its CPU |")
    print("| --- | --- | --- | --- | --- | --- |")
    wall, cpu = (statistics.median(values) for values in zip(*found["raw"], strict=True))
    for kind, rounds in found.items():
        mine = [statistics.median(values) for values in zip(*rounds, strict=True)]
        over = statistics.median(a[0] / b[0] for a, b in zip(rounds, found["raw"], strict=True))
        target = f"{TARGETS[kind]} x" if kind in TARGETS else ""
        print(
            f"| {kind} | {mine[0] * 1e6:.0f} us | {over:.2f} x | {target} "
            f"| {mine[1] * 1e6:.0f} us | {mine[1] / cpu:.2f} x |"
        )
    print(f"\n{polls * ROUNDS} polls of each; raw: {wall * 1e6:.0f} us.")


Web = tuple[str, int, int]
"""Host and port, and the process id of the web worker."""


def measure(polls: int, raw: Web, server: Web, paths: dict[str, str]) -> dict[str, list[tuple[float, float]]]:
    """Seconds and CPU seconds of a poll, by what is polled, one pair for each round."""
    asked = {"raw": (raw, "/")} | {kind: (server, path) for kind, path in paths.items()}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in asked}
    for _ in range(ROUNDS):
        for kind, (web, path) in asked.items():
            found[kind].append(timed(web, path, polls))
    return found


def timed(web: Web, path: str, polls: int) -> tuple[float, float]:
    """Mean wall time of a poll, and mean CPU time of the web worker."""
    connection = Connection(*web[:2])
    connection.request("GET", path)
    cpu, began = cpu_seconds(web[2]), time.perf_counter()
    for _ in range(polls):
        connection.request("GET", path)
    seconds = (time.perf_counter() - began) / polls, (cpu_seconds(web[2]) - cpu) / polls
    connection.close()
    return seconds


def jobs(connection: Connection) -> dict[str, str]:
    """Paths of an ended job, of one that runs for long, and of one that is queued behind it."""

    def submit(steps: int) -> str:
        _, body = connection.json("POST", "/generate", {"steps": steps, "delay": 0.1})
        return f"/request_status/{body['request_id']}"

    ended = submit(1)
    wait_until(lambda: connection.request("GET", ended)[0] == 200, "a job to end")
    running = submit(100_000)
    wait_until(lambda: connection.json("GET", running)[1]["step"] > 0, "a job to run")
    return {"running": running, "queued": submit(1), "ended": ended}


@contextmanager
def raw_web() -> Iterator[Web]:
    """The bare function, served."""
    listener = socket.create_server(("127.0.0.1", 0))
    command = [sys.executable, str(Path(__file__).with_name("raw_web.py")), str(listener.fileno())]
    process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        wait_until(lambda: psutil.Process(process.pid).children(), "the raw web worker")
        Connection(*listener.getsockname()).request("GET", "/")
        yield *listener.getsockname(), psutil.Process(process.pid).children()[0].pid
    finally:
        stop(process, 10)
        listener.close()


if __name__ == "__main__":
    main()
