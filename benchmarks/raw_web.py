"""`python benchmarks/raw_web.py FD`: the project's web worker with a bare WSGI function in the place of the app.

What is left of a request's time is the web worker's own, and gunicorn's.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from para_attn_server.core.settings import Settings
from para_attn_server.http.server.gunicorn_app import GunicornApp, Master

BODY = b'{"status":"running"}\n'


class _Idle:
    """In the place of the service that a web worker looks after."""

    def beat(self) -> None: ...
    def stop_waiting(self) -> None: ...
    def close(self) -> None: ...


class RawApp:
    """The least that WSGI asks for."""

    extensions: ClassVar = {"service": _Idle()}

    def __call__(self, _environ: Any, start_response: Any) -> list[bytes]:
        start_response("202 Accepted", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))])
        return [BODY]


class RawWeb(GunicornApp):
    """Its workers serve that."""

    def load(self) -> Any:
        """Called by gunicorn in each worker."""
        return RawApp()


if __name__ == "__main__":
    Master(RawWeb(Settings(model="none", web_workers=1), int(sys.argv[1])), None).run()
