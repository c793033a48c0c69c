"""A small HTTP server that says what a test tells it to: stands for other people's servers and proxies."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """status 0 closes the connection without a word; cut: bytes after which the body breaks off."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class ScriptedServer:
    """Gives `answers` in order, the last one for ever; `requests` holds (method, path, body) of each request,
    `keys` its Idempotency-Key, `last_event_ids` its Last-Event-ID."""

    def __init__(self, port: int = 0) -> None:
        self.answers: deque[Answer] = deque()
        self.requests: list[tuple[str, str, Any]] = []
        self.keys: list[str | None] = []
        self.last_event_ids: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            do_POST = do_DELETE = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"

    def says(self, *answers: Answer) -> None:
        """What comes next."""
        self.answers.extend(answers)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Give the next answer."""
        content = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.requests.append((handler.command, handler.path, json.loads(content) if content else None))
        self.keys.append(handler.headers.get("Idempotency-Key"))
        self.last_event_ids.append(handler.headers.get("Last-Event-ID"))
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if answer.status == 0:
            handler.close_connection = True
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body[: answer.cut])
        handler.close_connection = answer.cut is not None


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A running one."""
    server = ScriptedServer()
    thread = threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.httpd.shutdown()
        thread.join()
        server.httpd.server_close()
