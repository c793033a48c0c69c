"""What happens when an agent or its controller is gone or silent, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from agents import SECRET, RunningAgent
from ranks import free_port
from serving import COUNTING
from stage import Stage
from waiting import wait_until

from para_attn_server.core.errors import ExitCode, ServerError, UsageError
from para_attn_server.core.wire.launch import GroupSpec, GroupWish, ModelSpec
from para_attn_server.executors.agent import executor as controllers_end
from para_attn_server.executors.agent.link import Link, LinkLost, connect
from para_attn_server.executors.agent.wire import Alive, Launch, Launched, Open, Opened, Refused, Said
from para_attn_server.executors.base import ExecutorOptions
from para_attn_server.executors.open import open_executor

OPTIONS = ExecutorOptions(device="cpu", groups=[GroupWish(2)], preload="torch.distributed", bind_cores=False)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningAgent]:
    monkeypatch.setenv("PARA_ATTN_AGENT_SECRET", SECRET)
    agent = RunningAgent(tmp_path, controller_timeout=3.0)
    yield agent
    agent.stop()
    log = agent.log()
    agent.close()
    assert "Traceback" not in log, log


@pytest.fixture
def stage(agent: RunningAgent, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(open_executor(agent.url, OPTIONS), tmp_path)
    yield stage
    stage.close()


def gone(pids: list[int]) -> bool:
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


@pytest.mark.slow
def test_ranks_that_die_with_their_agent_are_no_fault_of_the_model_and_the_next_launch_waits_for_the_next_agent(
    agent: RunningAgent, stage: Stage
) -> None:
    played = stage.launch().wait_ready()
    pids = [handle.pid or 0 for handle in played.handles]
    agent.kill()
    deaths = played.wait_dead()
    assert {(death.how, death.own_fault, death.from_outside) for death in deaths.values()} == {
        ("ended with its agent", False, False)
    }
    wait_until(lambda: gone(pids), 10, "the ranks to end")
    again = stage.launch()
    stage.call(lambda: None)
    assert again.order == []
    agent.start()
    again.wait_ready().kill()


@pytest.mark.slow
def test_an_agent_that_is_stopped_is_given_up_and_works_again_once_it_goes_on(
    agent: RunningAgent, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controllers_end, "SILENT", 2.0)
    monkeypatch.setattr(controllers_end, "CONNECT_TIMEOUT", 1.0)
    played = stage.launch().wait_ready()
    pids = [handle.pid or 0 for handle in played.handles]
    agent.process.send_signal(signal.SIGSTOP)
    assert not any(death.own_fault for death in played.wait_dead().values())
    again = stage.launch()
    assert not gone(pids) and not again.order, "nothing is started beside ranks that may live"
    agent.process.send_signal(signal.SIGCONT)
    again.wait_launched()
    assert gone(pids)
    again.wait_ready().kill()


@pytest.mark.slow
def test_a_launch_that_no_agent_takes_can_be_aborted(agent: RunningAgent, stage: Stage) -> None:
    agent.kill()
    wait_until(lambda: stage.call(lambda: stage.executor._link) is None, 10)
    played = stage.launch()
    stage.call(stage.executor.abort_launch)
    assert played.failure == ("the agent cannot be reached", False, False)
    stage.call(stage.executor.abort_launch)
    agent.start()
    stage.launch().wait_ready().kill()
    assert played.order == ["launch_failed"]


async def until(link: Link, kind: type, count: int = 1) -> Any:
    """The last of so many messages of that kind."""
    while count:
        message = await link.receive()
        count -= isinstance(message, kind)
    return message


async def opened(agent: RunningAgent) -> Link:
    """A controller's connection, once the agent is free."""
    for _ in range(200):
        link = await connect("127.0.0.1", agent.port, SECRET.encode())
        link.send(Open(OPTIONS))
        answer = await link.receive()
        if isinstance(answer, Opened):
            return link
        assert isinstance(answer, Refused) and not answer.usage
        link.abort()
        await asyncio.sleep(0.05)
    raise AssertionError("the agent stays busy")


@pytest.mark.slow
@pytest.mark.parametrize("end", ["closed", "silent", "while launching"])
def test_ranks_do_not_outlive_their_controller_and_the_agent_is_free_again(agent: RunningAgent, end: str) -> None:
    spec = GroupSpec(ModelSpec(COUNTING), 0, 2, "info", "json")

    async def scenario() -> None:
        link = await opened(agent)
        link.send(Launch(1, spec))
        alive = asyncio.create_task(say_alive(link))
        if end == "while launching":
            await until(link, Alive, 2)
            pids = []
        else:
            pids = (await until(link, Launched)).pids
            await until(link, Said, 2)
            assert not gone(pids)
        alive.cancel()
        if end != "silent":
            link.abort()
        else:
            with pytest.raises(LinkLost):
                await until(link, Launched)
        following = await opened(agent)
        assert gone(pids)
        assert agent.forkserver() is None, "nothing is kept for the next controller"
        following.close()

    async def say_alive(link: Link) -> None:
        while True:
            link.send(Alive())
            await asyncio.sleep(0.2)

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert len(agent.records("the controller shows no sign of life")) == (end == "silent")


def test_an_agent_works_for_one_controller_at_a_time(agent: RunningAgent) -> None:
    async def scenario() -> None:
        first = await opened(agent)
        second = await connect("127.0.0.1", agent.port, SECRET.encode())
        second.send(Open(OPTIONS))
        refused = await second.receive()
        assert isinstance(refused, Refused) and "another controller" in refused.reason
        first.close()
        second.close()

    asyncio.run(scenario())


def test_what_keeps_a_server_from_its_agent_is_said_at_its_start(
    agent: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controllers_end, "OPENS_WITHIN", 0.3)
    with pytest.raises(ServerError, match=r"no agent can be used at 127\.0\.0\.1:\d+: Connect call failed"):
        open_executor(f"agent://127.0.0.1:{free_port()}", OPTIONS)
    monkeypatch.setenv("PARA_ATTN_AGENT_SECRET", "another secret, as long")
    with pytest.raises(UsageError, match="cannot be used: the secrets differ"):
        open_executor(agent.url, OPTIONS)
    with pytest.raises(UsageError, match="PARA_ATTN_AGENT_SECRET"):
        open_executor(agent.url, OPTIONS)
    monkeypatch.setenv("PARA_ATTN_AGENT_SECRET", SECRET)
    with pytest.raises(UsageError, match="HOST:PORT"):
        open_executor("agent://", OPTIONS)
    with socket.create_connection(("127.0.0.1", agent.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert wait_until(lambda: agent.records("a connection was refused"), 10)


def test_too_few_gpus_are_said_by_the_agent(agent: RunningAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ExecutorOptions("cuda", [GroupWish(2)], "", False)
    agent.kill()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    agent.start()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(UsageError, match=r"need 2 GPUs, but 1 are visible"):
        open_executor(agent.url, options)


@pytest.mark.slow
def test_an_agent_ends_with_a_reason_or_cleanly(agent: RunningAgent, tmp_path: Path) -> None:
    def refused(*words: str, secret: str = SECRET) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "para_attn_server", "agent", *words],
            env={**os.environ, "PARA_ATTN_AGENT_SECRET": secret},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stderr.strip()

    taken = refused(f"--listen=127.0.0.1:{agent.port}", f"--state-dir={tmp_path / 'other'}")
    assert taken[0] == ExitCode.PORT_TAKEN and "choose another --listen" in taken[1], taken
    locked = refused("--listen=127.0.0.1:0", f"--state-dir={tmp_path / 'agent'}")
    assert locked[0] == ExitCode.STATE_DIR and "in use by another server" in locked[1], locked
    for words, secret, why in (
        (["--listen=nowhere"], SECRET, "HOST:PORT"),
        (["--controller-timeout=soon"], SECRET, "duration"),
        (["--controller-timeout=10ms"], SECRET, "3s or more"),
        ([], "", "PARA_ATTN_AGENT_SECRET"),
    ):
        code, said = refused(f"--state-dir={tmp_path / 'other'}", *words, secret=secret)
        assert code == ExitCode.USAGE and why in said and len(said.splitlines()) == 1, said
    agent.process.terminate()
    assert agent.process.wait(10) == 0
