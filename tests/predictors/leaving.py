"""A predictor that starts helpers and leaves them to themselves. Usable by hand with --model."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Annotated, Literal

import torch.distributed as dist
from pydantic import Field

from para_attn_server import Predictor

How = Literal["group", "session", "orphan", "fork"]
STEPS = 600


class LeavingPredictor(Predictor):
    """Rank zero starts one helper and then takes many short steps, or dies; its process id is written to `note`."""

    pipe = None
    output_suffix = ".txt"

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(
        self,
        how: How = "session",
        note: Annotated[str, Field(description="the helper's process id goes to this file")] = "/dev/null",
        steps: Annotated[int, Field(ge=1)] = STEPS,
        *,
        output_path: str,
    ) -> None:
        if dist.get_rank() == 0:
            start_helper(how, note)
        for step in range(1, steps + 1):
            time.sleep(0.02)
            self.step(step, steps)
        if dist.get_rank() == 0:
            Path(output_path).write_text("done\n")


def start_helper(how: str, note: str) -> None:
    """group: in the rank's process group. session: not. orphan: nor the rank's child. fork: executes no program."""
    if how == "orphan":
        subprocess.run(["setsid", "sh", "-c", f"sleep 3600 & echo $! > {note}"], check=True)
        return
    if how == "fork":
        pid = os.fork()
        if pid == 0:
            os.closerange(3, 4096)
            time.sleep(3600)
    else:
        pid = subprocess.Popen(["sleep", "3600"], start_new_session=how == "session").pid
    Path(note).write_text(f"{pid}\n")
