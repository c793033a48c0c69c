"""The Python way in: `ParaAttentionServer`, which runs the controller as a separate process.

The predictor travels to the ranks as cloudpickle's bytes: nothing of the calling script is run again, so it needs no
`if __name__ == "__main__"` guard, and a class defined in the script will do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import reprlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, NoReturn

from para_attn_server.client import Client
from para_attn_server.core.errors import ExitCode, PortTaken, ServerError, SetupFailed, StateDirError, UsageError
from para_attn_server.core.install import require_server
from para_attn_server.core.models import ModelSettings, found_models, parse_models, refuse_settings_of_one
from para_attn_server.core.process import WITH_DOCSTRINGS, docstrings_are_lost, python_command
from para_attn_server.core.settings import Settings, load_settings
from para_attn_server.core.wire import owner
from para_attn_server.core.wire.launch import ServedModel
from para_attn_server.packing import packed

_ERRORS: dict[int, type[ServerError]] = {
    ExitCode.USAGE: UsageError,
    ExitCode.SETUP_FAILED: SetupFailed,
    ExitCode.PORT_TAKEN: PortTaken,
    ExitCode.STATE_DIR: StateDirError,
}
_STOP_MARGIN = 30.0  # seconds beyond --shutdown-timeout


class ParaAttentionServer:
    """A server for one predictor, or for several.

    Either `run()`, which blocks, or as a context manager, which serves in the background until the block ends:

        with ParaAttentionServer("demo", port=0) as server:
            server.client.generate("circle.png", prompt="a red circle")

    Parameters
    ----------
    predictor : Predictor, type or str
        An instance, a class, or a name as for `--model`.
    host, port, num_devices, **settings
        The settings of docs/settings.md; what is left out comes from the environment, then from the defaults.
    models : dict, optional
        In place of `predictor`, several of them by their short names, the default one first. In place of a predictor
        there may be a dict of what a table of a `--config` file has, with the predictor as its `model`.

    Raises
    ------
    UsageError
        A setting is wrong, or a predictor cannot be pickled; names it.
    """

    def __init__(
        self,
        predictor: Any = None,
        host: str | None = None,
        port: int | None = None,
        num_devices: int | None = None,
        *,
        models: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        require_server()
        predictors = _predictors(predictor, models)
        given = {"host": host, "port": port, "num_devices": num_devices, **settings}
        if predictor is not None:
            given["model"] = _label(predictor)
        self.settings: Settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        found = found_models(self.settings) if models is None else _parsed(models, self.settings)
        if not found:
            raise UsageError("there is no predictor; give one, several as models=, or a file as config=")
        self._models = [_served(model, predictors.get(model.name, predictor)) for model in found]
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._told: dict[str, str] = {}
        self._url = ""

    def run(self) -> None:
        """Serve until Ctrl-C, SIGTERM or `para-attn-server`'s own end; blocks.

        Raises
        ------
        ServerError
            The server has ended by itself; the kind belongs to its exit code.
        """
        asked: list[int] = []
        with _forwarded_signals(self._terminate, asked):
            process = self._start()
            try:
                if asked:
                    self._terminate()  # it came while the process was being made
                process.wait()
                if not (asked and process.returncode == -signal.SIGTERM):  # it had not begun to serve
                    self._check(process)
            finally:
                self._hang_up()

    @property
    def url(self) -> str:
        """Where the server listens, such as `http://127.0.0.1:5000`; empty when it does not."""
        return self._url

    @property
    def client(self) -> Client:
        """A client of this server."""
        return Client(self._url)

    def __enter__(self) -> ParaAttentionServer:
        process = self._start()
        try:
            self._await_ready(process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Drain and stop as after SIGTERM; returns when every process of the server has ended."""
        if self._process is None:
            return
        self._terminate()
        try:
            self._process.wait(self.settings.shutdown_timeout + _STOP_MARGIN)
        except subprocess.TimeoutExpired:
            self._process.kill()  # everything else dies with it
            self._process.wait()
        self._hang_up()

    # --- the inside ---

    def _terminate(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None:
            raise UsageError("server is already running")
        self._line, theirs = map(_above_standard_streams, socket.socketpair())
        with theirs:
            fd = theirs.fileno()
            environment = self.settings.as_environment(os.environ) | {owner.FD_VARIABLE: str(fd)}
            if docstrings_are_lost():
                environment |= WITH_DOCSTRINGS
            self._process = subprocess.Popen(
                python_command("para_attn_server.controller"),
                pass_fds=[fd],
                env=environment,
                stdin=subprocess.DEVNULL,
                process_group=0,  # a terminal's Ctrl-C is for this process, which passes it on once
            )
        self._answers = self._line.makefile("r")
        # It has already ended; its last words and its exit code say why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            owner.send_models(self._line, self._models)
        return self._process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        self._hear()
        self._url = self._told.get("url", "")
        ends = time.monotonic() + self.settings.setup_timeout + _STOP_MARGIN
        if not self._url:
            self._end(process)
        with self.client as client:
            while not _settled(client):
                if process.poll() is not None:
                    self._end(process)
                if time.monotonic() > ends:
                    raise SetupFailed("the server did not become ready in time; see its log")
                time.sleep(0.05)

    def _end(self, process: subprocess.Popen[bytes]) -> NoReturn:
        self._check(process)
        raise ServerError("the server has ended")

    def _hear(self) -> bool:
        """Take in the controller's next words; False once it has ended."""
        told = owner.hear(self._answers)
        self._told |= told
        return bool(told)

    def _check(self, process: subprocess.Popen[bytes]) -> None:
        """Raise what belongs to the exit code of a controller that has ended, in its own last words."""
        if status := process.wait():
            while self._hear():
                pass
            unsaid = f"the server ended with status {status}; its log above says why"
            raise _ERRORS.get(status, ServerError)(self._told.get("reason", unsaid))

    def _hang_up(self) -> None:
        if self._line is not None:
            self._answers.close()
            self._line.close()
        self._line, self._process, self._url, self._told = None, None, "", {}


def _above_standard_streams(made: socket.socket) -> socket.socket:
    """The socket under a number that is none of a standard stream's, which it has where those are closed."""
    with made:
        return socket.socket(fileno=fcntl.fcntl(made.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


@contextlib.contextmanager
def _forwarded_signals(terminate: Callable[[], None], asked: list[int]) -> Any:
    """Pass Ctrl-C and SIGTERM on to the controller as SIGTERM; in a thread other than the main one there are none.

    asked: gets the number of each signal that has come.
    """

    def forward(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        terminate()

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):
                before[number] = signal.signal(number, forward)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_kind(predictor: Any) -> None:
    """Raises UsageError for what is no name, no class and no instance of a predictor; a rank tells a missing method."""
    if not isinstance(predictor, str | type) and not (hasattr(predictor, "setup") or hasattr(predictor, "predict")):
        raise UsageError(
            f"the predictor must be an instance or a class with setup() and predict(), or a name as for --model, not "
            f"{reprlib.repr(predictor)}"
        )


def _predictors(predictor: Any, models: Mapping[str, Any] | None) -> dict[str, Any]:
    """The predictors of `models`, by name. Raises UsageError."""
    if models is None:
        if predictor is not None:
            _check_kind(predictor)
        return {}
    if predictor is not None:
        raise UsageError("models: it is given together with a predictor; give one of them")
    found = {name: each.get("model", name) if isinstance(each, Mapping) else each for name, each in models.items()}
    for each in found.values():
        _check_kind(each)
    return found


def _parsed(models: Mapping[str, Any], settings: Settings) -> list[ModelSettings]:
    """What `models` says, with each predictor's label in its place."""
    refuse_settings_of_one(settings, "the models are in models=; say it for each of them there")
    tables = {name: dict(each) if isinstance(each, Mapping) else {"model": each} for name, each in models.items()}
    labeled = {name: {**table, "model": _label(table.get("model", name))} for name, table in tables.items()}
    found = parse_models(labeled)
    for model in found:
        if isinstance(tables[model.name].get("model", ""), str):
            model.check(of_file=True)
    return found


def _served(model: ModelSettings, predictor: Any) -> ServedModel:
    pickled = None if predictor is None or isinstance(predictor, str) else packed(predictor, model.model)
    return model.served(_search_path(), pickled)


def _settled(client: Client) -> bool:
    """Whether jobs are taken, and every model is either ready or known to be of no use."""
    return client.ready() and all(model["status"] != "starting" for model in client.models())


def _label(predictor: Any) -> str:
    if isinstance(predictor, str):
        return predictor
    cls = predictor if isinstance(predictor, type) else type(predictor)
    return f"{cls.__module__}:{cls.__qualname__}"


def _search_path() -> list[str]:
    return [entry or os.getcwd() for entry in sys.path]  # noqa: PTH109 - entries are strings, and so is this
