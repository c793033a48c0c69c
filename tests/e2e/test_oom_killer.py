"""The kernel's out-of-memory killer, for real: a server in a memory cgroup of its own, with a limit.

Making one needs root and a writable cgroup file system; without them the tests are skipped, and say so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import CHAOS, RunningServer
from waiting import wait_until

from para_attn_server.executors.oom import find_source

ROOM = 400 * 2**20
"""Bytes that the limit leaves to the ready server: less than what the predictor hoards."""


@dataclass
class MemoryCgroup:
    """A child of this process's memory cgroup."""

    folder: Path

    @property
    def v2(self) -> bool:
        return (self.folder / "memory.events").exists()

    @property
    def limit(self) -> Path:
        return self.folder / ("memory.max" if self.v2 else "memory.limit_in_bytes")

    def enter(self, pid: int = 0) -> None:
        (self.folder / "cgroup.procs").write_text(str(pid or os.getpid()))

    def limit_to_usage_and(self, room: int) -> None:
        usage = self.folder / ("memory.current" if self.v2 else "memory.usage_in_bytes")
        self.limit.write_text(str(int(usage.read_text()) + room))
        if self.v2:
            (self.folder / "memory.swap.max").write_text("0")


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup]:
    parent = find_source().parent
    made = MemoryCgroup(parent / f"para-attn-server-test-{os.getpid()}")
    if parent == Path("/proc"):
        pytest.skip("this process is in no memory cgroup")
    try:
        made.folder.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    if not os.access(made.limit, os.W_OK):
        made.folder.rmdir()
        pytest.skip("the memory controller is not delegated to this cgroup")
    yield made
    wait_until(lambda: not (made.folder / "cgroup.procs").read_text(), 10, "the cgroup to be empty")
    made.folder.rmdir()


@pytest.fixture
def limited(cgroup: MemoryCgroup, serve: Callable[..., RunningServer]) -> RunningServer:
    """A ready server that has not much memory left."""
    try:
        cgroup.enter()
    except OSError as error:
        pytest.skip(f"no process can be put into a memory cgroup here: {error}")
    try:
        server = serve(CHAOS, max_attempts=1)
    finally:
        MemoryCgroup(cgroup.folder.parent).enter()
    server.wait_ready()
    cgroup.limit_to_usage_and(ROOM)
    return server


def test_a_rank_killed_by_the_kernel_for_its_memory_is_said_to_be(limited: RunningServer) -> None:
    error = limited.result(limited.submit(kind="hoard", rank=1)).json()["error"]
    assert error["type"] == "rank_lost"
    assert error["rank"] == 1
    assert "rank 1 was killed by the kernel's out-of-memory killer" in error["message"]
    assert "memory" in error["hint"]
    assert limited.records("rank died")[0]["how"] == "was killed by the kernel's out-of-memory killer"
    assert limited.result(limited.submit(seed=1)).status_code == 200, "the group is healed within the limit"


def test_any_other_sigkill_is_not_taken_for_it(serve: Callable[..., RunningServer]) -> None:
    server = serve(CHAOS, max_attempts=1)
    server.wait_ready()
    error = server.result(server.submit(kind="sigkill", rank=1)).json()["error"]
    assert error["message"] == "rank 1 was killed by SIGKILL"
