"""Names that other packages do not promise, and that this one leans on: a version without one fails here, by its name.

What is mended in para_attn has a test of its own (parallel/test_para_attn_guard.py).
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import pickle
import struct
import sys
from collections.abc import Callable
from multiprocessing import Pipe, forkserver, process, resource_tracker
from pathlib import Path
from typing import Any

import pytest
from gevent import socket
from gunicorn import util
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.ggevent import GeventWorker

from para_attn_server.executors.rank_process import _HEADER

ATTRIBUTES: list[tuple[Any, str, str]] = [
    (logging, "_srcfile", "core/logs.py"),
    (forkserver, "_forkserver", "executors/forkserver.py"),
    (forkserver._forkserver, "_forkserver_pid", "executors/local.py, executors/forkserver.py"),
    (forkserver._forkserver, "_forkserver_address", "executors/forkserver.py"),
    (process, "_children", "executors/started.py"),
    (resource_tracker, "_resource_tracker", "executors/tracker.py"),
    (resource_tracker._resource_tracker, "_fd", "executors/tracker.py"),
    (resource_tracker._resource_tracker, "_pid", "executors/tracker.py"),
    (socket.socket(), "_sock", "http/server/connection.py"),
    (util, "write_nonblock", "http/server/gevent_worker.py"),
]
METHODS: list[tuple[Callable[..., Any], list[str], str]] = [
    (Logger.setup, ["self", "cfg"], "http/server/gunicorn_app.py"),
    (Arbiter.murder_workers, ["self"], "http/server/gunicorn_app.py"),
    (GeventWorker.init_signals, ["self"], "http/server/gevent_worker.py"),
    (GeventWorker.handle, ["self", "listener", "client", "addr"], "http/server/gevent_worker.py"),
    (GeventWorker.handle_request, ["self", "listener_name", "req", "sock", "addr"], "http/server/gevent_worker.py"),
    (GeventWorker.handle_error, ["self", "req", "client", "addr", "exc"], "http/server/gevent_worker.py"),
    (GeventWorker.timeout_ctx, ["self"], "http/server/gevent_worker.py"),
]


@pytest.mark.parametrize(("owner", "name", "user"), ATTRIBUTES, ids=[name for _, name, _ in ATTRIBUTES])
def test_an_attribute_is_still_there(owner: Any, name: str, user: str) -> None:
    assert hasattr(owner, name), f"{owner!r} has no {name} any more: see what takes its place, in {user}"


@pytest.mark.parametrize(("method", "names", "user"), METHODS, ids=[method.__qualname__ for method, _, _ in METHODS])
def test_a_method_is_still_called_in_the_same_way(method: Callable[..., Any], names: list[str], user: str) -> None:
    found = list(inspect.signature(method).parameters)
    assert found == names, f"{method.__qualname__} takes {found} now: see {user}, which overrides or reads it"


def test_children_are_still_a_set() -> None:
    assert isinstance(process._children, set), "executors/started.py takes a rank out of it"  # type: ignore[attr-defined]


def test_gunicorns_error_page_is_still_looked_up_in_its_module() -> None:
    assert "util.write_error(" in inspect.getsource(GeventWorker.handle_error), "gevent_worker.py replaces it there"


def test_gunicorns_access_log_is_still_switched_off_by_one_attribute() -> None:
    logger = Logger.__new__(Logger)
    logger._access_log_enabled = False
    assert logger.access_log_enabled is False, "http/server/gunicorn_app.py switches it off so"


def test_a_connection_still_frames_messages_by_their_size() -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        ours.send("a message")
        header, body = os.read(theirs.fileno(), _HEADER.size), os.read(theirs.fileno(), 4096)
    assert header == struct.pack("!i", len(body)), "executors/rank_process.py reads and writes such frames"
    assert pickle.loads(body) == "a message"


def test_a_module_is_still_marked_while_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_looks.py").write_text("initializing = __spec__._initializing")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("module_that_looks")
    del sys.modules["module_that_looks"]
    assert module.initializing is True, "rank/imports.py leaves such a module alone"
    assert not module.__spec__._initializing  # type: ignore[union-attr]
