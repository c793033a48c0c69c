"""Who watches whom, with processes that are stopped and a clock that the test moves on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_until

from para_attn_server.controller import control_server, web_supervisor
from para_attn_server.controller.control_server import ControlServer
from para_attn_server.controller.pulse import BEAT_EVERY, LoopLag, Pulse, Supervisor
from para_attn_server.controller.web_supervisor import SILENT_AT_START, WebSupervisor
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire import control as channel
from para_attn_server.core.wire.control import Alive, Beat, LineBuffer, encode
from para_attn_server.executors import forkserver
from para_attn_server.executors.forkserver import ForkserverWatch

FORKSERVER = """\
import os, sys
from multiprocessing import forkserver
import socket
listener, alive = socket.socket(socket.AF_UNIX), os.pipe()
listener.bind(sys.argv[1]); listener.listen()
forkserver.main(os.dup(listener.fileno()), alive[0], [])
"""
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python with that program; killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(program: str, *arguments: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", program, *arguments]))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, 5)


# --- the controller's beats ---


def test_the_lag_of_the_loop_is_told_by_quantiles() -> None:
    lag = LoopLag()
    assert lag.quantile(0.5) == 0.0
    seconds = [0.001] * 600 + [0.002] * 398 + [0.04, 1.5]
    random.Random(1).shuffle(seconds)
    for each in seconds:
        lag.add(each)
    assert [lag.quantile(part) for part in (0.5, 0.999, 1.0)] == [0.001, 0.04, 1.5]


def test_a_tick_that_comes_late_or_takes_long_is_lag_and_beats_come_in_time() -> None:
    now, beats = 10.0, list[Beat]()
    pulse = Pulse(beats.append, Supervisor({}), lambda: now)
    for late, takes in [(0.0, 0.0)] * 20 + [(0.3, 0.0), (0.0, 0.2)]:
        now += 0.1 + late
        pulse.woke()
        now += takes
        pulse.tick(0.1)
    assert len(beats) == 2
    now += 1.0 + 0.1
    pulse.woke()
    pulse.tick(0.5)
    assert (beats[-1].median, beats[-1].longest) == (0.0, 1.0)
    before = len(beats)
    for _ in range(6):
        now += 0.5
        pulse.woke()
        pulse.tick(0.5)
    assert len(beats) == before + 3.0 / BEAT_EVERY
    assert beats[-1].longest == 1.0, "a longer pause that was meant is no lag"


@pytest.mark.parametrize("abstract", [True, False])
def test_a_service_manager_hears_of_the_life_of_the_loop(tmp_path: Path, abstract: bool) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(5)
    address = f"@para-attn-{os.getpid()}" if abstract else str(tmp_path / "notify")
    manager.bind("\0" + address[1:] if abstract else address)
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    supervisor = Supervisor(environment)
    assert environment == {"A": "b"}, "no child takes itself for the service"
    supervisor.notify("READY=1")
    assert manager.recv(100) == b"READY=1"
    Pulse(lambda _: None, supervisor, time.monotonic).tick(0.1)
    assert manager.recv(100) == b"WATCHDOG=1"
    manager.close()
    supervisor.notify("STOPPING=1")  # nobody listens any more: no matter


def test_a_watchdog_for_another_process_and_none_at_all_are_no_matter() -> None:
    assert not Supervisor({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watches
    Supervisor({}).notify("READY=1")


# --- those whom the controller watches ---


def test_a_web_worker_that_says_nothing_any_more_is_killed(tmp_path: Path, start: Start) -> None:
    program = (
        "import sys, time; from pathlib import Path; from para_attn_server.core.wire import control as channel\n"
        "line = channel.connect(Path(sys.argv[1]))\n"
        "line.sendall(channel.encode(channel.Alive())); time.sleep(60)"
    )

    async def play() -> None:
        now = 100.0
        server = ControlServer(lambda: None, lambda _: None, lambda: channel.PoolView(1.0), lambda: now)
        await server.start(tmp_path)
        worker = start(program, str(tmp_path))
        quiet = channel.connect(tmp_path)  # this process: it has never said that it is alive
        while not any(connection._heard_at for connection in server._connections):
            await asyncio.sleep(0.01)
        server.tick(now + control_server.SILENT)
        assert worker.poll() is None
        server.tick(now + control_server.SILENT + 0.1)
        assert worker.wait(5) == -signal.SIGKILL
        quiet.close()
        server.close()

    asyncio.run(asyncio.wait_for(play(), 30))


def test_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    async def play() -> None:
        now = 100.0
        server = ControlServer(lambda: None, lambda _: None, lambda: channel.PoolView(1.0), lambda: now)
        await server.start(tmp_path)
        reader, writer = await asyncio.open_unix_connection(sock=channel.connect(tmp_path))
        await reader.readline()
        for _ in range(20):
            now += 1.0
            writer.write(encode(Alive()))
            server.publish(Beat(0.25))
            assert list(LineBuffer().feed(await reader.readline())) == [Beat(0.25)]
            server.tick(now)
        assert len(server._connections) == 1
        writer.close()
        server.close()

    asyncio.run(asyncio.wait_for(play(), 30))


def test_a_gunicorn_whose_master_is_stopped_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import os, sys, time\nwhile True: os.write(int(sys.argv[1]), b'.'); time.sleep(0.05)"
    monkeypatch.setattr(
        web_supervisor, "python_command", lambda *arguments: [sys.executable, "-c", program, arguments[-1]]
    )
    monkeypatch.setattr(web_supervisor, "RESTART_AFTER", 0.01)

    async def play() -> None:
        with socket.socket() as listener:
            server = WebSupervisor(asyncio.get_running_loop(), Settings(state_dir=tmp_path), listener)
            server.start()
            first, now = pid(server), 100.0
            server.tick(now)
            while server._limit == SILENT_AT_START:  # its first beat
                await asyncio.sleep(0.01)
                now += web_supervisor.LOOK_EVERY
                server.tick(now)
            stop(first)
            now += web_supervisor.LOOK_EVERY
            server.tick(now)
            heard = server._heard_at  # now, if it came to one more beat before it was stopped
            assert heard is not None
            server.tick(heard + web_supervisor.SILENT)
            assert server._process.poll() is None  # type: ignore[union-attr]
            server.tick(heard + web_supervisor.SILENT + web_supervisor.LOOK_EVERY)
            while pid(server) == first:
                await asyncio.sleep(0.01)
            stop(pid(server))
            server.tick(now + 20)
            server.tick(now + 20 + web_supervisor.SILENT)
            await server.stop(0.1)

    asyncio.run(asyncio.wait_for(play(), 30))


def pid(server: WebSupervisor) -> int:
    assert server._process is not None
    return server._process.pid


def test_a_stopped_forkserver_is_found_and_a_living_one_is_not(tmp_path: Path, start: Start) -> None:
    process = start(FORKSERVER, str(tmp_path / "socket"))
    wait_until(lambda: signal_is_caught(process.pid, signal.SIGCHLD), 10)
    watch, now = ForkserverWatch(), 100.0
    for _ in range(10):
        before = forkserver._state(process.pid)
        assert not watch.silent(process.pid, True, now)
        wait_until(lambda: forkserver._state(process.pid) != before, 5, "an answer to the ping")  # noqa: B023
        now += forkserver.PING_EVERY
    stop(process.pid)
    found = [watch.silent(process.pid, True, now + seconds) for seconds in range(16)]
    assert found.index(True) in range(10, 15)
    assert process.poll() is None, "a ping kills nobody"


def test_a_forkserver_that_imports_may_take_its_time_but_not_be_stopped(start: Start) -> None:
    process = start("import time; time.sleep(60)")
    watch = ForkserverWatch()
    assert not any(watch.silent(process.pid, False, 100.0 + seconds) for seconds in range(60))
    stop(process.pid)
    assert any(watch.silent(process.pid, False, 160.0 + seconds) for seconds in range(16))


def test_no_forkserver_and_a_dead_one_are_not_silent(start: Start) -> None:
    process = start("")
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, 5)
    watch = ForkserverWatch()
    assert not any(watch.silent(None, False, float(seconds)) for seconds in range(60))
    assert not any(watch.silent(process.pid, True, float(seconds)) for seconds in range(60))


def signal_is_caught(pid: int, number: int) -> bool:
    fields: dict[str, Any] = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    return bool(int(fields["SigCgt"], 16) >> (number - 1) & 1)
