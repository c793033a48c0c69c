"""A stand-in for the model hub: answers for a few repositories as the real one does, or not at all.

`owner/gated`, `owner/fine`, `owner/huge` are there, `owner/private-token` refuses any token, any other is unknown.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SIZES = {"owner/gated": 1000, "owner/fine": 1000, "owner/huge": 10**18}


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        repo = self.path.removeprefix("/api/models/").partition("?")[0]
        if repo == "owner/private-token":
            self._answer(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        elif repo in _SIZES:
            files = [{"rfilename": "model_index.json", "size": 10}]
            files += [{"rfilename": f"transformer/a.{kind}", "size": _SIZES[repo]} for kind in ("safetensors", "bin")]
            self._answer(200, {}, {"id": repo, "siblings": files})
        else:
            self._answer(401, {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        if self.path.startswith("/owner/gated/"):
            self._answer(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted"})
        else:
            self._answer(200, {"X-Repo-Commit": "0" * 40, "ETag": '"1"'})

    def _answer(self, status: int, headers: dict[str, str], body: object = None) -> None:
        content = json.dumps(body or {"error": headers}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def model_hub() -> Iterator[str]:
    """Its URL, as HF_ENDPOINT takes it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent_hub() -> Iterator[str]:
    """The URL of a hub that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
