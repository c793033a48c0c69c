"""A whole server whose stdout and stderr are a pipe that is full from the start and that nobody reads."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ranks import free_port
from serving import COUNTING

from para_attn_server import Client

pytestmark = pytest.mark.slow
FAULTY = Path(__file__).parents[1] / "predictors" / "faulty_setup.py"


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """Its end for writing."""
    reading, writing = os.pipe()
    os.write(writing, b"x" * fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ))
    yield writing
    os.close(reading)
    os.close(writing)


def start(model: str, folder: Path, log: int, *options: str) -> subprocess.Popen[bytes]:
    places = (f"--state-dir={folder / 'state'}", f"--output-dir={folder / 'outputs'}", "--preload=torch.distributed")
    command = [sys.executable, "-P", "-m", "para_attn_server", f"--model={model}", "--num-devices=2", *places, *options]
    return subprocess.Popen(command, stdout=log, stderr=log)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_server_whose_log_nobody_reads_serves_and_stops(full_pipe: int, tmp_path: Path, log_format: str) -> None:
    port = free_port()
    options = (f"--port={port}", f"--log-format={log_format}", "--log-level=debug", "--access-log")
    with start(COUNTING, tmp_path, full_pipe, *options) as process:
        try:
            client = Client(f"http://127.0.0.1:{port}")
            client.wait_ready(60)
            assert client.generate(steps=2)["status"] == "succeeded"
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_setup_that_fails_ends_the_server_though_nobody_reads_why(
    full_pipe: int, tmp_path: Path, log_format: str
) -> None:
    options = ("--port=0", f"--log-format={log_format}")
    with start(f"{FAULTY}:RaisesInSetup", tmp_path, full_pipe, *options) as process:
        try:
            assert process.wait(60) == 3
        finally:
            process.kill()
