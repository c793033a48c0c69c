"""The controller: owns the port, the store's transitions, the ranks and the web server, and outlives them all.

One asyncio loop; every callback is short, and nothing in it waits for a rank, a web worker, a client or the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from para_attn_server.controller.control_server import ControlServer
from para_attn_server.controller.first_setups import FirstSetups
from para_attn_server.controller.housekeeping import finish_outputs
from para_attn_server.controller.model_identity import identity, served_models
from para_attn_server.controller.places import Places, StatePlaces, Trouble
from para_attn_server.controller.pulse import Pulse, Supervisor
from para_attn_server.controller.reloading import SourceWatch, source_folder
from para_attn_server.controller.retention import ClockWatch, Limits, Retention, settle_clock
from para_attn_server.controller.temporary import RunFolder
from para_attn_server.controller.uploads import UploadRetention
from para_attn_server.controller.web_supervisor import WebSupervisor
from para_attn_server.core.clock import RunningClock
from para_attn_server.core.errors import ExitCode, PortTaken, ServerError, StoreUnavailable, UsageError
from para_attn_server.core.listening import advice, listen
from para_attn_server.core.lock import LOCK_NAME, StateDirLock
from para_attn_server.core.logs import configure_logging
from para_attn_server.core.settings import DATABASE_URL, ENV_PREFIX, Settings, load_settings
from para_attn_server.core.signals import StopSignals
from para_attn_server.core.steady import steady
from para_attn_server.core.stray_output import DescriptorReader
from para_attn_server.core.streams import lose_what_cannot_be_written
from para_attn_server.core.wire.launch import GroupSpec, ServedModel
from para_attn_server.core.wire.owner import inherited_line, receive_models, tell
from para_attn_server.executors.base import Executor, ExecutorOptions
from para_attn_server.executors.open import open_executor
from para_attn_server.inputs.folder import input_folder
from para_attn_server.outputs.folder import output_folder
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.group import Group
from para_attn_server.pool.model_info import ModelInfoWriter
from para_attn_server.pool.monitor import Timeouts
from para_attn_server.pool.pool import Pool
from para_attn_server.pool.store_thread import StoreThread
from para_attn_server.stores.base import JobStore
from para_attn_server.stores.open import open_store, prepare_store, store_notices
from para_attn_server.stores.uploads import store_key

log = structlog.get_logger()

SOON = 0.01
"""Seconds for which news of the pool are gathered."""
TICK = 0.1
"""Seconds between two checks of deadlines and lost hints."""
IDLE_TICK = 0.5
"""The same while every group is ready and nothing is to be done: each look costs CPU time, all day long."""
HOUSE_TICK = 0.25
"""Seconds between two looks of housekeeping, each of which takes a thread."""
WEB_TIMEOUT = 5.0
RANKS_TIMEOUT = 20.0
STORE_TIMEOUT = 10.0
"""Seconds that the end waits for the store. What it has not written then is found unfinished by the next start."""


class Controller:
    """One server: from a bound port to a clean exit code."""

    def __init__(
        self,
        settings: Settings,
        models: list[ServedModel],
        executor: Executor,
        listener: socket.socket,
        store: JobStore,
        model_info: ModelInfoWriter,
        line: socket.socket | None,
        lock: StateDirLock,
        run_folder: RunFolder,
        store_key: str,
    ) -> None:
        self._settings, self._line, self._executor = settings, line, executor
        self._loop = asyncio.get_running_loop()
        self._store = StoreThread(store, self._loop.call_soon_threadsafe)
        self._clock = RunningClock(TICK)
        self._listener, self._models = listener, models
        sources = {model.name: source_folder(model.spec) for model in models if settings.reload}
        self._sources = {model: SourceWatch(folder) for model, folder in sources.items()}
        self._stop, self._stop_now = asyncio.Event(), asyncio.Event()
        self._first_setups = FirstSetups(model.name for model in models)
        self._web = WebSupervisor(self._loop, settings, listener)
        executor.start(self._loop, settings.state_dir / LOCK_NAME)
        self._control = self._make_control()
        self._supervisor = Supervisor(os.environ)
        self._pulse = Pulse(self._control.publish, self._supervisor, self._loop.time)
        self._outputs = output_folder(settings)
        self._pool = Pool(
            self._store,
            model_info,
            self._outputs,
            settings.max_attempts,
            self._control.publish,
            lambda function: self._loop.call_later(SOON, function),
            self._on_setup_failed,
            self._control.live,
        )
        state = StatePlaces(lock, run_folder, self._control, self._store)
        self._places = Places(state, self._outputs, self._on_trouble, self._loop.time)
        self._pool.notices = store_notices(settings.job_store)
        self._store_key = store_key
        self._removals = self._make_removals()

    async def run(self, signals: StopSignals) -> ExitCode:
        """Serve until asked to stop; returns the command's exit code."""
        signals.follow(self._stop_soon)
        await self._control.start(self._settings.state_dir)
        self._web.start()
        await asyncio.to_thread(finish_outputs, self._store.caller(), self._outputs)
        self._pool.start(self._make_groups())
        house = [self._tick(), self._repeat(self._places.tick), self._repeat(self._remove_old_jobs)]
        house += [self._repeat(self._look_at_sources)] if self._sources else []
        tasks = [asyncio.create_task(task) for task in house]
        address, port = self._listener.getsockname()[:2]
        url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        state_dir = str(self._settings.state_dir)
        names = ", ".join(model.name for model in self._models)
        log.info("serving", url=url, model=names, pid=os.getpid(), state_dir=state_dir)
        self._supervisor.notify("READY=1")
        self._follow_owner(url)
        await self._stop.wait()
        await self._shut_down()
        for task in tasks:
            task.cancel()
        return self._first_setups.exit_code

    def _follow_owner(self, url: str) -> None:
        """Report the server's URL to the program that started the controller; stop when that program is gone."""
        tell(self._line, url=url)
        if self._line is not None:
            self._line.setblocking(False)
            self._loop.add_reader(self._line.fileno(), self._on_owner)

    def _on_owner(self) -> None:
        assert self._line is not None
        try:
            if self._line.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # gone the hard way
        self._loop.remove_reader(self._line.fileno())
        log.info("the program that started the server is gone")
        self._stop.set()

    def _make_control(self) -> ControlServer:
        return ControlServer(
            lambda job, request_id: self._pool.submitted(job, request_id),
            lambda order, reply: self._pool.cancel(order, reply),
            lambda: self._pool.view(),
            self._clock,
        )

    def _make_removals(self) -> list[Callable[[float], None]]:
        settings, store = self._settings, self._store.caller()
        limits = Limits(settings.keep, settings.output_seconds, settings.max_output_bytes)
        retention = Retention(store, self._outputs, limits, ClockWatch(settings.keep))
        return [retention.tick, UploadRetention(store, input_folder(settings, self._store_key)).tick]

    def _make_groups(self) -> list[Group]:
        settings = self._settings
        timeouts = Timeouts(
            settings.setup_timeout,
            settings.step_timeout,
            settings.min_step_timeout,
            settings.job_timeout,
            settings.cancel_timeout,
        )
        of_groups = [model.spec for model in self._models for _ in model.groups]
        of_settings = settings.log_level, settings.log_format, settings.max_pixels
        specs = [
            GroupSpec(model, index, ranks, *of_settings, self._store_key)
            for index, (model, ranks) in enumerate(zip(of_groups, self._executor.ranks, strict=True))
        ]
        return [Group(spec, self._executor, self._pool, timeouts, self._clock) for spec in specs]

    async def _tick(self) -> None:
        while True:
            now = self._clock()
            self._pulse.woke()
            try:
                self._pool.tick(now)
                self._control.tick(now)
                self._web.tick(now)
                self._executor.tick(now)
            except Exception:
                log.exception("unhandled error in main loop")
            pause = self._pause
            self._pulse.tick(pause)
            self._clock.every = pause
            await asyncio.sleep(pause)

    async def _repeat(self, look: Callable[[], Awaitable[None]]) -> None:
        """Housekeeping, which may have to wait for a disk: no deadline waits for it."""
        while True:
            try:
                await look()
            except Exception:
                log.exception("unhandled error in housekeeping")
            await asyncio.sleep(max(HOUSE_TICK, self._pause))

    async def _look_at_sources(self) -> None:
        for model, sources in self._sources.items():
            if files := await asyncio.to_thread(sources.changed):
                log.info("the predictor has changed; starting its ranks anew", model=model, files=files)
                self._pool.rebuild(model, "the predictor has changed")

    async def _remove_old_jobs(self) -> None:
        for remove in self._removals:
            await asyncio.to_thread(remove, self._loop.time())

    @property
    def _pause(self) -> float:
        return IDLE_TICK if self._pool.idle else TICK

    # --- what happens ---

    def _on_trouble(self, trouble: Trouble | None) -> None:
        if trouble is None:
            self._pool.hold(None, held=False, refused=False)
        else:
            self._pool.hold(trouble.reason, trouble.holds, trouble.refuses)

    def _on_setup_failed(self, model: str, failure: SetupFailure) -> None:
        """The server ends where no model can be set up at its start; a model beside others is tried again."""
        if self._sources:
            log.error("the setup waits for a change of the predictor", exception=failure.error.traceback)
            return
        if self._pool.ever_ready:
            return
        self._first_setups.failed(model, failure)
        if self._first_setups.hopeless:
            self._stop_now.set()
            self._stop.set()

    def _stop_soon(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: so does the process
            self._loop.call_soon_threadsafe(self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            log.warning("second signal: stopping immediately")
            self._stop_now.set()
        self._stop.set()

    # --- the end ---

    async def _shut_down(self) -> None:
        """POSTs are refused first; running jobs may finish; then the web ends, then the ranks."""
        self._supervisor.notify("STOPPING=1")
        self._pool.drain()
        if self._pool.busy and not self._stop_now.is_set():
            log.info("draining: running jobs may finish", shutdown_timeout=self._settings.shutdown_timeout)
            await self._until(lambda: not self._pool.busy or self._stop_now.is_set(), self._settings.shutdown_timeout)
        self._pool.stop()
        await asyncio.gather(self._web.stop(WEB_TIMEOUT), self._end_ranks())
        self._pool.close()
        await self._until(lambda: self._pool.settled, STORE_TIMEOUT)
        self._control.close()
        self._executor.close()
        if self._first_setups.hopeless:
            reason, traceback = self._first_setups.why()
            _say_why(self._settings.log_format, reason, traceback)
            tell(self._line, reason=reason)
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            counts = await asyncio.wait_for(
                asyncio.wrap_future(self._store.submit(lambda store: store.counts())), STORE_TIMEOUT
            )
            log.info("stopped", queued=counts.queued)
        self._store.close(STORE_TIMEOUT)

    async def _end_ranks(self) -> None:
        """Idle ranks leave by themselves; a second signal does not wait for their teardown()."""
        await self._until(lambda: self._pool.stopped or self._stop_now.is_set(), RANKS_TIMEOUT)
        self._pool.stop()
        await self._until(lambda: self._pool.stopped, RANKS_TIMEOUT)

    async def _until(self, done: Callable[[], bool], timeout: float) -> None:
        """Wait for a condition, up to `timeout` seconds."""
        ends = self._clock() + timeout
        while not done() and self._clock() < ends:
            await asyncio.sleep(0.01)


def main(signals: StopSignals) -> int:
    """Run the controller with the settings of the environment; returns the exit code. signals: of this process."""
    lose_what_cannot_be_written()
    line = inherited_line()
    log_format = os.environ.get(f"{ENV_PREFIX}LOG_FORMAT", "").strip().lower()
    with _json_alone() if log_format == "json" else contextlib.nullcontext() as log_fd:
        try:
            settings = load_settings()
            configure_logging(settings.log_level, settings.log_format, "controller", log_fd)
            _keep_to_itself(settings.store)
            return _serve(settings, line, signals)
        except ServerError as error:
            _say_why(log_format, str(error))
            tell(line, reason=str(error))
            return int(error.exit_code)


def _keep_to_itself(store: str | None) -> None:
    """The store's URL may have a password in it: the ranks, which run other people's code, do not inherit it."""
    for name in (f"{ENV_PREFIX}STORE", DATABASE_URL):
        if store is not None and os.environ.get(name) == store:
            del os.environ[name]


@contextlib.contextmanager
def _json_alone() -> Iterator[int]:
    """Make records of all that this process and its children print; the descriptor that takes the log."""
    reader = DescriptorReader()
    configure_logging("info", "json", "controller", reader.log_fd)  # for settings that are wrong
    reader.start()
    try:
        yield reader.log_fd
    finally:
        reader.close()


def _say_why(log_format: str, reason: str, traceback: str = "") -> None:
    """Why the server ends by itself."""
    if log_format == "json":
        log.critical("the server ends", reason=reason, **({"exception": traceback} if traceback else {}))
    else:
        print(f"{traceback}\npara-attn-server: {reason}".lstrip(), file=sys.stderr)


def _serve(settings: Settings, line: socket.socket | None, signals: StopSignals) -> int:
    # An owner has looked itself whether there are such models, with a search path of its own.
    models = receive_models(line) if line else served_models(settings)
    wishes = [wish for model in models for wish in model.groups]
    executor = open_executor(settings.executor, ExecutorOptions.of(settings, wishes))  # too few devices is known early
    _make_output_dir(settings.output_dir)
    with StateDirLock(settings.state_dir) as lock, _bind(settings) as listener:
        run_folder = RunFolder(settings.state_dir)
        if isinstance(database := settings.job_store, Path) and not database.exists():
            log.info("new state directory", state_dir=str(settings.state_dir))
        prepare_store(settings.job_store, settings.migrate)
        store = open_store(settings.job_store, durable=False, steady=steady)
        with contextlib.closing(store):
            settle_clock(store)
            model_info = ModelInfoWriter([identity(model.spec) for model in models])
            model_info.claim(store)
            parts = (settings, models, executor, listener, store, model_info, line, lock, run_folder, store_key(store))
            return asyncio.run(_run(signals, *parts))


def _make_output_dir(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{folder} cannot be made ({error.strerror}); choose another --output-dir"
        raise UsageError(f"output_dir: {reason}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"output_dir: {folder} cannot be written to; allow it, or choose another --output-dir")


async def _run(signals: StopSignals, *parts: Any) -> int:
    return int(await Controller(*parts).run(signals))  # a Controller is made on the loop that it runs on


def _bind(settings: Settings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        reason = f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); {advice(error)}"
        raise PortTaken(reason) from None
