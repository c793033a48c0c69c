"""An agent on what is another machine to the network: no loopback in common, and a network that can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from agents import SECRET, RunningAgent
from stage import Stage
from waiting import wait_until

from para_attn_server.core.wire.launch import GroupWish
from para_attn_server.core.wire.ranks import Finished
from para_attn_server.executors.agent import executor as controllers_end
from para_attn_server.executors.base import ExecutorOptions
from para_attn_server.executors.open import open_executor

pytestmark = pytest.mark.slow
NAME = f"para-{os.getpid()}"
OURS, THEIRS = "10.213.7.1", "10.213.7.2"
OPTIONS = ExecutorOptions(device="cpu", groups=[GroupWish(2)], preload="torch.distributed", bind_cores=False)


def do(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True, timeout=20)


@pytest.fixture
def network() -> Iterator[str]:
    """A network namespace with the address THEIRS; its name."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and the command ip")
    try:
        do(f"ip netns add {NAME}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr!r}")
    try:
        for command in (
            f"ip link add pa-ours type veth peer name pa-theirs netns {NAME}",
            f"ip addr add {OURS}/24 dev pa-ours",
            "ip link set pa-ours up",
            f"ip -n {NAME} addr add {THEIRS}/24 dev pa-theirs",
            f"ip -n {NAME} link set pa-theirs up",
            f"ip -n {NAME} link set lo up",
        ):
            do(command)
        yield NAME
    finally:
        do(f"ip netns del {NAME}")


def test_ranks_elsewhere_work_and_none_is_left_when_the_network_is_cut(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARA_ATTN_AGENT_SECRET", SECRET)
    monkeypatch.setattr(controllers_end, "SILENT", 3.0)
    agent = RunningAgent(tmp_path, 3.0, THEIRS, ["ip", "netns", "exec", network])
    stage = Stage(open_executor(agent.url, OPTIONS), tmp_path)
    try:
        played = stage.launch().wait_ready()
        played.wait_said(Finished, 2, played.run(tmp_path / "a.txt", steps=5))
        serial = played.run(tmp_path / "b.txt", steps=100000, delay=0.01)
        wait_until(lambda: played.progress(1).serial == serial and played.progress(1).step > 3, 30)
        ranks = [psutil.Process(handle.pid) for handle in played.handles]
        do(f"ip -n {network} link set pa-theirs down")
        assert not any(death.own_fault for death in played.wait_dead().values())
        again = stage.launch()
        wait_until(lambda: not any(rank.is_running() for rank in ranks), 15, "the ranks to end while they are cut off")
        assert not again.order
        do(f"ip -n {network} link set pa-theirs up")
        again.wait_ready().kill()
    finally:
        stage.close()
        agent.close()
