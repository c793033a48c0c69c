"""Starts what is compared: a real server, the same predictor under torchrun, and the poller."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import STAMPS_VARIABLE
from server import HERE, RANKS, ServerProcess, stop


class StampReader:
    """Reads what the ranks note in a folder (see predictors.py)."""

    def __init__(self, folder: Path, ranks: int = RANKS) -> None:
        folder.mkdir(parents=True)
        self.folder, self._ranks = folder, ranks
        self._files: list[Any] = []

    def read(self) -> list[dict[int, dict[str, Any]]]:
        """Per rank, by job number: the notes that are new since the last call."""
        if not self._files:
            self._files = [(self.folder / f"rank-{rank}.jsonl").open() for rank in range(self._ranks)]
        return [{note["job"]: note for note in map(json.loads, file)} for file in self._files]


class Server(ServerProcess):
    """A predictor of predictors.py on a state directory of its own; the ranks' notes are in `stamps`."""

    def __init__(
        self, folder: Path, name: str, model_path: str | None, run: int = 0, ranks: int = RANKS, **options: Any
    ) -> None:
        self.stamps = StampReader(folder / f"server-stamps-{run}", ranks)
        places = {"state-dir": folder / "state", "output-dir": folder / "outputs"}
        super().__init__(
            f"{HERE / 'predictors.py'}:{name}",
            folder / f"server-{run}.log",
            {STAMPS_VARIABLE: str(self.stamps.folder)},
            **{"num-devices": ranks},
            **places,
            **({"model-path": model_path} if model_path else {}),
            **options,
        )

    def finish(self, job_id: str) -> None:
        """GET /get_output with ?wait, until the job has ended."""
        while (status := self.connection.request("GET", f"/get_output/{job_id}?wait=60")[0]) == 202:
            pass
        if status != 200:
            raise RuntimeError(f"the job ended with {status}")

    def job(self, **arguments: Any) -> tuple[float, float]:
        """One job from POST to the answer of ?wait: when the POST was sent, when the answer was there."""
        sent = time.monotonic()
        self.finish(self.submit(**arguments))
        return sent, time.monotonic()


_TIMEOUT = 120.0


class Bare:
    """The same predictor under torchrun, each rank told through a named pipe when to run."""

    def __init__(self, folder: Path, name: str, model_path: str | None) -> None:
        self.stamps = StampReader(folder / "bare-stamps")
        pipes = [folder / "answers", *(folder / f"orders-{rank}" for rank in range(RANKS))]
        for pipe in pipes:
            os.mkfifo(pipe)
        # Opened for both directions: neither this nor the ranks' own opening ever waits for the other end.
        self._fds = [os.open(pipe, os.O_RDWR | os.O_CLOEXEC) for pipe in pipes]
        self._answers, *self._orders = self._fds
        arguments = [name, str(folder), *([model_path] if model_path else [])]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
        environment = {
            STAMPS_VARIABLE: str(self.stamps.folder),
            "CUDA_VISIBLE_DEVICES": "",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // RANKS)),
        }
        with (folder / "bare.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *launcher, str(HERE / "bare.py"), *arguments],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )

    def wait_ready(self) -> None:
        """Return when both ranks are set up."""
        self._await_answers()

    def job(self, **arguments: Any) -> tuple[float, float]:
        """One job: when the orders were sent, when both ranks had answered."""
        line = json.dumps(arguments).encode() + b"\n"
        sent = time.monotonic()
        for orders in self._orders:
            os.write(orders, line)
        self._await_answers()
        return sent, time.monotonic()

    def _await_answers(self) -> None:
        missing, ends = RANKS, time.monotonic() + _TIMEOUT
        while missing:
            if not select.select([self._answers], [], [], 1.0)[0]:
                if self.process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError("the bare ranks do not answer")
                continue
            missing -= os.read(self._answers, 4096).count(b"\n")

    def close(self) -> None:
        """Stop torchrun, which stops its ranks. Asked twice: once."""
        stop(self.process, 15)
        while self._fds:
            os.close(self._fds.pop())


class PollerProcess:
    """The poller (polls.py) on a server."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "polls.py"), address[0], str(address[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def polling(self, rate: float, path: str) -> Iterator[dict[str, float]]:
        """Poll while the block runs; the dictionary holds what was done afterwards."""
        done: dict[str, float] = {}
        self._say(f"{rate} {path}")
        yield done
        self._say("")
        assert self._process.stdout is not None
        done.update(json.loads(self._process.stdout.readline()))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it."""
        stop(self._process, 5)
