"""Asks a server for a job's status again and again, in a process of its own so that its cost can be told apart.

`python benchmarks/polls.py HOST PORT`; then on stdin: `RATE PATH` begins, an empty line ends and is answered by one
JSON line: how many answers came, in how many seconds, how many were not 200 or 202, and the poller's own CPU seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from measure import Connection

_CONNECTIONS = 4


class Poller:
    """RATE polls a second over a few connections, each with a thread that paces itself."""

    def __init__(self, connections: list[Connection], rate: float, path: str) -> None:
        self._interval, self._path = len(connections) / rate, path
        self._stop = threading.Event()
        self.answers = self.refused = 0
        self._lock = threading.Lock()
        self._began, self._cpu = time.monotonic(), time.process_time()
        self._threads = [
            threading.Thread(target=self._poll, args=(connection, index * self._interval / len(connections)))
            for index, connection in enumerate(connections)
        ]
        for thread in self._threads:
            thread.start()

    def _poll(self, connection: Connection, offset: float) -> None:
        due = self._began + offset
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            status, _ = connection.request("GET", self._path)
            with self._lock:
                self.answers += 1
                self.refused += status not in (200, 202)
            due = max(due + self._interval, time.monotonic() - self._interval)  # what was missed is not made up for

    def end(self) -> dict[str, float]:
        """Stop; what was done."""
        self._stop.set()
        seconds, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        for thread in self._threads:
            thread.join()
        return {"answers": self.answers, "seconds": seconds, "refused": self.refused, "cpu": cpu}


def main() -> None:
    """Follow the orders on stdin."""
    connections = [Connection(sys.argv[1], int(sys.argv[2])) for _ in range(_CONNECTIONS)]
    poller = None
    for line in sys.stdin:
        if poller is not None:
            print(json.dumps(poller.end()), flush=True)
            poller = None
        elif line.strip():
            rate, path = line.split()
            poller = Poller(connections, float(rate), path)


if __name__ == "__main__":
    main()
