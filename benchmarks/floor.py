"""The least that a server with a queue can be, from the standard library: the floor that peers are compared with.

    python benchmarks/floor.py

Prints its port. POST /generate answers 202 with an id, GET /get_output/ID?wait=60 answers when that job is done. One
thread does the jobs in order. Nothing is validated, kept on disk or limited.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sleeping import SleepingWork


class Jobs:
    """The queue and its worker."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._done: dict[str, threading.Event] = {}
        self._outputs: dict[str, str] = {}

    def submit(self, arguments: dict[str, Any]) -> str:
        """Queue a job; its id."""
        job_id = str(next(self._ids))
        self._done[job_id] = threading.Event()
        self._waiting.put((job_id, arguments))
        return job_id

    def output(self, job_id: str) -> str:
        """Wait for the job's end."""
        self._done[job_id].wait()
        del self._done[job_id]
        return self._outputs.pop(job_id)

    def work(self) -> None:
        """Do the jobs, for ever."""
        work = SleepingWork()
        while True:
            job_id, arguments = self._waiting.get()
            self._outputs[job_id] = work.do(arguments["seed"], arguments["steps"], arguments["delay"])
            self._done[job_id].set()


JOBS = Jobs()


class Handler(BaseHTTPRequestHandler):
    """The two routes."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Accept a job."""
        arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(202, json.dumps({"request_id": JOBS.submit(arguments)}))

    def do_GET(self) -> None:
        """Answer with its output."""
        self._answer(200, JOBS.output(self.path.removeprefix("/get_output/").partition("?")[0]))

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    threading.Thread(target=JOBS.work, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
