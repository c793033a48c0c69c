"""The work of `make bench-peers`, in plain Python: a worker that sleeps through its steps and notes when it began and
ended, as SleepingPredictor does in a rank (predictors.py). Imports the standard library only: peers' environments have
nothing else in common.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

STAMPS_VARIABLE = "BENCHMARK_STAMPS"


class SleepingWork:
    """One worker; its notes go to `rank-0.jsonl` in the folder that BENCHMARK_STAMPS names."""

    def __init__(self) -> None:
        path = Path(os.environ[STAMPS_VARIABLE]) / "rank-0.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def do(self, job: int, steps: int, delay: float) -> str:
        """The job's output."""
        started = time.monotonic()
        for _ in range(steps):
            time.sleep(delay)
        note = {"job": job, "started": started, "ended": time.monotonic(), "pid": os.getpid()}
        os.write(self._file, json.dumps(note).encode() + b"\n")
        return f"{job}\n"
