"""A signal in the first moments of a start ends it with the exit code of that signal, and without a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import RunningServer
from waiting import wait_until

Serve = Callable[..., RunningServer]
# Sends itself the signal in the midst of an import.
AT_IMPORT = """
import os, runpy, sys
target, number, module = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sys.argv[:] = ["x", *sys.argv[4:]]
sys.addaudithook(lambda event, args: event == "import" and args[0] == module and os.kill(os.getpid(), number))
runpy.run_module(target, run_name="__main__", alter_sys=True)
"""
EXITS = {signal.SIGINT: (130, "para-attn-server: interrupted\n"), signal.SIGTERM: (-signal.SIGTERM, "")}


SEND = {signal.SIGINT: os.killpg, signal.SIGTERM: os.kill}  # as a terminal and as an init system do


def run(*command: str) -> subprocess.CompletedProcess[str]:
    # As in a terminal: what started the tests may have SIGINT ignored.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60, check=False, **heard)


@pytest.mark.parametrize("number", EXITS)
@pytest.mark.parametrize(
    ("target", "module"),
    [
        ("para_attn_server", "click"),
        ("para_attn_server", "para_attn_server.core.settings"),
        ("para_attn_server.controller", "structlog"),
        ("para_attn_server.controller", "para_attn_server.pool.pool"),
    ],
)
def test_a_signal_during_the_imports(target: str, module: str, number: signal.Signals) -> None:
    done = run("-c", AT_IMPORT, target, str(int(number)), module, "--model", "demo")
    assert (done.returncode, done.stderr, done.stdout) == (*EXITS[number], "")


@pytest.mark.parametrize("number", EXITS)
def test_a_signal_between_the_command_and_the_controller(number: signal.Signals) -> None:
    code = (
        "import os; from para_attn_server.core import process, signals\n"
        f"with signals.held(): os.kill(os.getpid(), {int(number)}); "
        "command = process.python_command('para_attn_server.controller'); os.execv(command[0], command)"
    )
    done = run("-P", "-c", code)
    assert (done.returncode, done.stderr) == EXITS[number]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "from para_attn_server.core.signals import StopSignals; StopSignals(); "
        "os.kill(os.getpid(), signal.SIGINT); print('goes on')"
    )
    assert run("-P", "-c", code).stdout == "goes on\n"


@pytest.mark.parametrize("number", EXITS)
def test_a_signal_while_the_forkserver_starts_is_a_clean_stop(
    serve: Serve, counting_model: str, number: signal.Signals
) -> None:
    server = serve(counting_model)
    wait_until(lambda: server.records("serving"), 30)
    SEND[number](server.process.pid, number)
    assert server.process.wait(30) == 0
    assert server.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize("number", EXITS)
@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0, 6.0])
def test_a_signal_at_any_moment(
    serve: Serve, counting_model: str, tmp_path: Path, number: signal.Signals, seconds: float
) -> None:
    server = serve(counting_model)
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(seconds)
    SEND[number](server.process.pid, number)
    code = server.process.wait(30)
    assert code in (0, EXITS[number][0])
    complaints = server.complaints()
    if code == 0 or number == signal.SIGTERM:
        assert complaints == []
    else:  # a line for people, or a record once the log is one of records
        (line,) = complaints
        assert line == EXITS[number][1].strip() or json.loads(line)["event"] == "interrupted"
