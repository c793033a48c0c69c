"""An agent in a process of its own, as the command starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from ranks import free_port
from waiting import wait_until

SECRET = "a secret of the tests, long enough"


class RunningAgent:
    """`para-attn-server agent` on a port of its own. start: again, on the same port and folder, once it has ended.

    within: a command that runs it elsewhere, where it has the address `host`.
    """

    def __init__(
        self,
        folder: Path,
        controller_timeout: float = 10.0,
        host: str = "127.0.0.1",
        within: Sequence[str] = (),
    ) -> None:
        self._folder, self._controller_timeout, self._host, self._within = folder, controller_timeout, host, within
        self.port = free_port()
        self.url = f"agent://{host}:{self.port}"
        self._log_file = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self.start()

    def start(self) -> None:
        """Return when it listens."""
        seen = len(self.records("agent is listening"))
        options = {
            "listen": f"{self._host}:{self.port}",
            "state-dir": self._folder / "agent",
            "controller-timeout": self._controller_timeout,
            "log-format": "json",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [*self._within, sys.executable, "-P", "-m", "para_attn_server", "agent", *words],
            stdout=self._log_file,
            stderr=self._log_file,
            env={**os.environ, "PARA_ATTN_AGENT_SECRET": SECRET},
            process_group=0,
        )

        def listens() -> bool:
            assert self.process.poll() is None, self.log()
            return len(self.records("agent is listening")) > seen

        wait_until(listens, 30, "the agent to listen")

    def log(self) -> str:
        """All that it has written."""
        size = os.fstat(self._log_file.fileno()).st_size
        return os.pread(self._log_file.fileno(), size, 0).decode(errors="replace")

    def records(self, event: str) -> list[dict[str, Any]]:
        """Log records of that event."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def forkserver(self) -> psutil.Process | None:
        """The one that has started its ranks, if it lives."""
        try:
            children = psutil.Process(self.process.pid).children()
            return next((child for child in children if any("forkserver" in part for part in child.cmdline())), None)
        except psutil.Error:
            return None

    def kill(self) -> None:
        """SIGKILL to the agent alone."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._log_file.close()
