"""gunicorn as the project runs it: on a socket that the controller bound, with gevent workers, configured by
`Settings`.

The modules are imported in the master, so that its workers share their memory; the service with its connections is
made in each worker, after the fork.
"""

from __future__ import annotations

import gc
import logging
import os
import re
from contextlib import suppress
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from para_attn_server.core.clock import RunningClock
from para_attn_server.core.process import die_with_parent
from para_attn_server.core.settings import Settings
from para_attn_server.core.steady import steady
from para_attn_server.http.app import create_app
from para_attn_server.http.dialects import load_dialects
from para_attn_server.http.server.connection import KEEPALIVE_SECONDS
from para_attn_server.http.server.gevent_worker import HEARTBEAT, WebWorker, off_loop
from para_attn_server.outputs.folder import output_folder
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.service import JobService
from para_attn_server.stores.open import find_kind, open_store

GRACEFUL_SECONDS = 3
"""How long a stopping worker may finish its responses; requests that wait for a job are answered at once."""
_NICE = 5


_OF_A_REQUEST = ("Invalid request from", "Error handling request")
_QUERY = re.compile(r"\?.*|(?<=Invalid HTTP Version).*", re.DOTALL)
"""What of gunicorn's words may be a query. Where it has spaces, what follows the first one is taken for the version."""


def _without_query(record: logging.LogRecord) -> bool:
    """A filter for gunicorn's logger: queries hold what is not for the log."""
    if record.msg.startswith(_OF_A_REQUEST):
        record.msg, record.args = _QUERY.sub("", record.getMessage()), ()
    return True


class WebLogger(Logger):
    """gunicorn's logger, writing through the root logger; its own chatter begins at warning unless debugging."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn instead of installing its own handlers."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
        self.error_log.addFilter(_without_query)
        debugging = logging.getLogger().isEnabledFor(logging.DEBUG)
        self.error_log.setLevel(logging.DEBUG if debugging else logging.WARNING)


class GunicornApp(BaseApplication):
    """The gunicorn application; its workers find it as `app`. fd: the listening socket, inherited and already bound."""

    def __init__(self, settings: Settings, fd: int) -> None:
        self.settings = settings
        self._fd = fd
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        chosen = {
            "bind": f"fd://{self._fd}",
            "workers": self.settings.web_workers,
            "worker_connections": self.settings.web_connections,
            "worker_class": WebWorker,
            "logger_class": WebLogger,
            "keepalive": int(KEEPALIVE_SECONDS),
            "forwarder_headers": "",  # or a header named SCRIPT_NAME moves every route
            "secure_scheme_headers": {},  # whose word counts is for --trusted-proxy to say (forwarded.py)
            "graceful_timeout": GRACEFUL_SECONDS,
            "control_socket_disable": True,
            "when_ready": _before_forks,
            "post_fork": _in_worker,
            "proc_name": "para-attn-server",
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called by gunicorn in each worker: the app with its own service."""
        service = _service(self.settings)
        app = create_app(service, self.settings)
        app.extensions["service"] = service
        return app


class Master(Arbiter):
    """gunicorn's master, which shows the controller that its loop goes round. beats: where it writes."""

    def __init__(self, app: GunicornApp, beats: int | None) -> None:
        self._beats = beats
        super().__init__(app)

    def murder_workers(self) -> None:
        """Called by gunicorn in each round, once a second at the least."""
        super().murder_workers()
        if self._beats is not None:
            with suppress(OSError):  # full, if the controller is stopped
                os.write(self._beats, b".")


def serve(settings: Settings, fd: int, beats: int | None = None) -> None:
    """Serve until SIGTERM; raises SystemExit."""
    find_kind(settings.job_store)  # loads what its workers will need
    load_dialects()
    Master(GunicornApp(settings, fd), beats).run()


def _service(settings: Settings) -> JobService:
    control = ControlClient(settings.state_dir, RunningClock(HEARTBEAT))
    control.start()
    store = open_store(settings.job_store, durable=True, steady=steady)
    return JobService(store, control, output_folder(settings), settings, off_loop)


def _before_forks(_arbiter: Arbiter) -> None:
    gc.collect()
    gc.freeze()  # a full collection would stop all clients of a worker for 40 ms, and unshare 27 MB


def _in_worker(_arbiter: Arbiter, worker: WebWorker) -> None:
    die_with_parent(worker.ppid)
    os.nice(_NICE)
