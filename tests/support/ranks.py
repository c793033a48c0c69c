"""Running a program as the ranks of one group on this machine, with the environment that torchrun sets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rank_environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What torchrun puts in the environment of one rank on one machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


def run_ranks(ranks: int, *command: str | Path, deadline: float = 120.0) -> list[str]:
    """Run `python *command` once per rank and return what each printed; fails the test unless all exit with 0."""
    port = free_port()
    end = time.monotonic() + deadline
    with tempfile.TemporaryFile("w+") as errors:
        running = [
            subprocess.Popen(
                [sys.executable, *map(str, command)],
                env={**os.environ, **rank_environment(rank, ranks, port)},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            for rank in range(ranks)
        ]
        try:
            printed = [process.communicate(timeout=max(0.0, end - time.monotonic()))[0] for process in running]
        finally:
            for process in running:
                process.kill()
                process.wait()
        errors.seek(0)
        assert [process.returncode for process in running] == [0] * ranks, errors.read()[-4000:]
    return printed


@contextmanager
def pretend_world(ranks: int) -> Iterator[None]:
    """A process group that claims `ranks` ranks in this process alone; its collectives move nothing."""
    dist.init_process_group("fake", rank=0, world_size=ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def world_of_one() -> Iterator[None]:
    """torchrun's environment for one rank, this process; a process group that is made meanwhile is taken down."""
    before = dict(os.environ)
    os.environ.update(rank_environment(0, 1, free_port()))
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)
