"""The executors that the contract suite runs against. A new executor is one more entry in BACKENDS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from agents import SECRET, RunningAgent
from stage import Stage

from para_attn_server.core.wire.launch import GroupWish
from para_attn_server.executors import local
from para_attn_server.executors.base import ExecutorOptions
from para_attn_server.executors.open import open_executor

OPTIONS = ExecutorOptions(device="cpu", groups=[GroupWish(2)] * 2, preload="torch.distributed", bind_cores=False)


@contextlib.contextmanager
def local_url(_folder: Path) -> Iterator[str]:
    yield "local"
    resource_tracker._resource_tracker._stop()


@contextlib.contextmanager
def agent_url(folder: Path) -> Iterator[str]:
    agent = RunningAgent(folder)
    yield agent.url
    agent.close()


BACKENDS: dict[str, Callable[[Path], contextlib.AbstractContextManager[str]]] = {
    "local": local_url,
    "agent": agent_url,
}
"""Each makes ready what an executor needs; the URL of one that has two ranks per group and two groups."""


@pytest.fixture(scope="module", params=BACKENDS)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An executor at work, shared by the tests of a module."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "lock").touch()
    with BACKENDS[request.param](folder) as url, pytest.MonkeyPatch.context() as patch:
        for name in (local.CONTROLLER_VARIABLE, local.PRELOAD_VARIABLE, local.VARIABLE):
            patch.setenv(name, "")
        patch.setenv("PARA_ATTN_AGENT_SECRET", SECRET)
        stage = Stage(open_executor(url, OPTIONS), folder / "lock")
        yield stage
        stage.close()
