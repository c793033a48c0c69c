"""What goes wrong between the start of ranks and their adoption, with a real forkserver and real ranks."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing.connection
import multiprocessing.process
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import pytest
from serving import COUNTING
from structlog.testing import capture_logs

from para_attn_server.core.wire.launch import GroupSpec, GroupWish, ModelSpec
from para_attn_server.executors import local
from para_attn_server.executors.base import ExecutorOptions
from para_attn_server.executors.forkserver import Forkserver, latest
from para_attn_server.executors.helpers import server_mark
from para_attn_server.executors.local import LocalExecutor
from para_attn_server.executors.tracker import end_former_tracker

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


class Told:
    """RankEvents that keep what they are told."""

    def __init__(self) -> None:
        self.news: list[tuple[Any, ...]] = []

    def launched(self, generation: int, handles: list[Any], steps: Any) -> None:
        self.news.append(("launched", handles))

    def launch_failed(self, generation: int, reason: str, own_fault: bool, from_outside: bool = False) -> None:
        self.news.append(("launch_failed", own_fault, from_outside))

    def message(self, generation: int, rank: int, message: Any) -> None:
        pass

    def died(self, generation: int, rank: int, death: Any) -> None:
        self.news.append(("died", rank, death))

    async def until(self, name: str, count: int = 1) -> list[tuple[Any, ...]]:
        """What was told by that name, once that much was."""
        ends = time.monotonic() + 60
        while len(found := [news for news in self.news if news[0] == name]) < count:
            assert time.monotonic() < ends, self.news
            await asyncio.sleep(0.01)
        return found


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Run a scenario with an executor; nothing may go wrong on the loop unseen."""
    for name in (local.CONTROLLER_VARIABLE, local.PRELOAD_VARIABLE, local.VARIABLE):
        monkeypatch.setenv(name, "")
    (tmp_path / "lock").touch()

    async def play(scenario: Callable[[LocalExecutor, Told], Awaitable[None]], preload: str = "") -> None:
        wrong: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        executor = LocalExecutor(ExecutorOptions("cpu", [GroupWish(2)], preload, False))
        executor.start(asyncio.get_running_loop(), tmp_path / "lock")
        try:
            await scenario(executor, Told())
        finally:
            executor.close()
        assert not wrong

    yield lambda *scenario: asyncio.run(play(*scenario))
    resource_tracker._resource_tracker._stop()


def launch(executor: LocalExecutor, told: Told, ranks: int) -> None:
    executor.launch(1, GroupSpec(ModelSpec(COUNTING), 0, ranks, "info", "json"), told)


def kill_forkserver() -> None:
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    os.waitid(os.P_PID, forkserver._forkserver._forkserver_pid, os.WEXITED | os.WNOWAIT)


def test_a_forkserver_that_dies_between_two_starts_is_no_fault_of_the_model(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, pids = LocalExecutor._start, []

    def start_and_kill(self: LocalExecutor, *args: Any) -> Any:
        started = start(self, *args)
        pids.append(started.process.pid)
        if len(pids) == 1:
            kill_forkserver()
        return started

    monkeypatch.setattr(LocalExecutor, "_start", start_and_kill)

    async def scenario(executor: LocalExecutor, told: Told) -> None:
        launch(executor, told, 2)
        assert await told.until("launch_failed") == [("launch_failed", False, True)]
        assert len(told.news) == 1
        assert len(pids) == 2
        assert not any(Path("/proc", str(pid)).exists() for pid in pids[1:]), "what was started is killed"

    run(scenario)


def test_a_watch_that_the_kernel_refuses_is_told_as_a_failed_launch(run: Callable[..., None]) -> None:
    async def scenario(executor: LocalExecutor, told: Told) -> None:
        loop, added = asyncio.get_running_loop(), []

        def add_reader(fd: int, callback: Any, *args: Any) -> None:
            if getattr(callback, "__name__", "") == "_on_exit":
                added.append(callback.__self__.pid)
                if len(added) == 2:
                    raise OSError(errno.ENOSPC, "no room for another watch")
            type(loop).add_reader(loop, fd, callback, *args)

        loop.add_reader = add_reader  # type: ignore[method-assign]
        launch(executor, told, 2)
        assert await told.until("launch_failed") == [("launch_failed", False, False)]
        assert len(told.news) == 1
        assert len(added) == 2
        assert not any(Path("/proc", str(pid)).exists() for pid in added), "what was started is killed"

    run(scenario)


def test_a_lack_of_descriptors_is_told_as_a_failed_launch(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pidfd_open, asked = os.pidfd_open, []

    def refuse(pid: int, flags: int = 0) -> int:
        if pid != forkserver._forkserver._forkserver_pid:
            asked.append(pid)
            if len(asked) == 2:
                raise OSError(errno.EMFILE, "Too many open files")
        return pidfd_open(pid, flags)

    async def scenario(executor: LocalExecutor, told: Told) -> None:
        monkeypatch.setattr(os, "pidfd_open", refuse)
        launch(executor, told, 2)
        assert await told.until("launch_failed") == [("launch_failed", False, False)]
        assert len(told.news) == 1
        assert not any(Path("/proc", str(pid)).exists() for pid in asked), "what was started is killed"

    run(scenario)


def test_a_rank_that_is_dead_before_it_is_looked_at_dies_quietly(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "open_pidfd", lambda process: (process.kill(), process.join(), -1)[-1])

    async def scenario(executor: LocalExecutor, told: Told) -> None:
        launch(executor, told, 1)
        [(_, rank, death)] = await told.until("died")
        assert (rank, death.how, death.own_fault) == (0, "was killed by SIGKILL", True)
        assert (death.signal, death.oom, death.from_outside) == (signal.SIGKILL, False, True)
        await asyncio.sleep(0)

    run(scenario)


def test_the_exit_status_is_read_by_nobody_else(run: Callable[..., None]) -> None:
    async def scenario(executor: LocalExecutor, told: Told) -> None:
        launch(executor, told, 1)
        [(_, [handle])] = await told.until("launched")
        os.kill(handle.pid, signal.SIGKILL)
        assert multiprocessing.connection.wait([handle._process.sentinel], 30)  # the loop has not seen it yet
        multiprocessing.process._cleanup()  # as each start of a process does, in the launcher's thread
        assert handle._process._popen.returncode is None
        [(_, _, death)] = await told.until("died")
        assert death.how == "was killed by SIGKILL"

    run(scenario)


@pytest.mark.slow
def test_one_socket_is_left_by_many_forkservers(run: Callable[..., None]) -> None:
    async def scenario(executor: LocalExecutor, told: Told) -> None:
        seen: list[set[Path]] = []
        for count in range(1, 4):
            launch(executor, told, 1)
            await told.until("launched", count)
            address = Path(forkserver._forkserver._forkserver_address)
            seen.append(set(address.parent.glob("listener-*")) - {address})
            kill_forkserver()
            deaths = [death for _, _, death in await told.until("died", count)]
            assert not any(death.own_fault for death in deaths) and all(death.from_outside for death in deaths)
        assert seen[1] == seen[2] == seen[0]

    run(scenario)


@pytest.mark.slow
def test_a_forkserver_that_dies_by_itself_or_by_the_server_was_not_killed_from_outside(
    run: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def crashes(executor: LocalExecutor, told: Told) -> None:
        launch(executor, told, 1)
        assert await told.until("launch_failed") == [("launch_failed", False, False)]

    run(crashes, "crashing")

    async def is_aborted(executor: LocalExecutor, told: Told) -> None:
        launch(executor, told, 1)
        await told.until("launched")
        executor.abort_launch()
        [(_, _, death)] = await told.until("died")
        assert (death.own_fault, death.from_outside) == (False, False)

    run(is_aborted)


@pytest.mark.parametrize("forkserver_too", [True, False])
def test_an_unknown_exit_status_is_the_forkservers_death_where_that_died_too(
    run: Callable[..., None], forkserver_too: bool
) -> None:
    async def scenario(executor: LocalExecutor, told: Told) -> None:
        os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)
        os.waitid(os.P_PID, resource_tracker._resource_tracker._pid, os.WEXITED | os.WNOWAIT)
        launch(executor, told, 1)
        [(_, [handle])] = await told.until("launched")
        check_tracker(executor)  # the new one
        pid = forkserver._forkserver._forkserver_pid
        os.kill(pid, signal.SIGSTOP)  # it sees no more how its ranks end
        os.kill(handle.pid, signal.SIGKILL)
        while not handle._ended:
            await asyncio.sleep(0.01)
        if forkserver_too:
            kill_forkserver()
        [(_, _, death)] = await told.until("died")
        assert (death.own_fault, death.from_outside) == (not forkserver_too, forkserver_too)

    run(scenario)


def check_tracker(executor: LocalExecutor) -> None:
    pid = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    environment = Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    assert f"{local.VARIABLE}={executor._mark}:tracker".encode() in environment


@pytest.mark.parametrize("stopped", [False, True])
def test_the_resource_tracker_ends_with_the_executor_and_carries_a_mark_of_its_own(
    run: Callable[..., None], stopped: bool
) -> None:
    tracker: Any = resource_tracker._resource_tracker
    with capture_logs() as said:

        async def scenario(executor: LocalExecutor, told: Told) -> None:
            check_tracker(executor)
            pids.append(tracker._pid)
            if stopped:
                os.kill(tracker._pid, signal.SIGSTOP)

        pids: list[int] = []
        run(scenario)
    assert not Path("/proc", str(pids[0])).exists()
    assert len([record for record in said if record["log_level"] == "warning"]) == stopped


def test_a_tracker_that_a_dead_server_has_left_is_ended(tmp_path: Path) -> None:
    mark = server_mark(tmp_path)
    environment = {**os.environ, local.VARIABLE: f"{mark}:tracker"}
    with subprocess.Popen(["sleep", "1000"], env=environment) as left:
        os.kill(left.pid, signal.SIGSTOP)
        end_former_tracker(mark)
        assert left.wait(5) == -signal.SIGKILL
    with capture_logs() as said, subprocess.Popen(["sleep", "0.1"], env=environment) as ends:
        end_former_tracker(mark)
        assert ends.wait(5) == 0
    assert not said, "one that tidies up is left to it"


def test_a_forkserver_with_its_predecessors_pid_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        monkeypatch.setattr(forkserver._forkserver, "_forkserver_pid", process.pid)
        monkeypatch.setattr(forkserver._forkserver, "_forkserver_address", "/no/such/listener")
        first = latest(None)
        assert isinstance(first, Forkserver)
        assert latest(first) is first
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not first.alive()
        assert latest(first) is not first


def test_ranks_that_load_are_reported_until_they_have_said_how_it_went(run: Callable[..., None]) -> None:
    async def scenario(executor: LocalExecutor, told: Told) -> None:
        executor._reports._every = 0.05
        with capture_logs() as said:
            launch(executor, told, 1)
            await told.until("launched")
            ends = time.monotonic() + 60
            while not [record for record in said if record["event"] == "rank is loading"]:
                assert time.monotonic() < ends, said
                await asyncio.sleep(0.01)
        (rank,) = executor._ranks
        (record, *_) = [record for record in said if record["event"] == "rank is loading"]
        assert (record["group"], record["rank"], record["pid"]) == (0, 0, rank.pid)
        assert [record["group"] for record in said if record["event"] == "ranks are being started"]
        rank.kill()
        await told.until("died")
        assert rank.loading is None and not executor._find_loading()

    run(scenario)
