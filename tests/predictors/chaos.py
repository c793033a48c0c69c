"""A predictor that breaks in a named way, at a named point, on a named rank. Usable by hand with --model.

Faults in setup are asked for by a file, since setup() takes no arguments: while the file named by CHAOS_SETUP exists,
setup breaks as its line `RANK KIND` says (rank -1: all).
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from PIL import Image
from pydantic import Field

from para_attn_server import Predictor, TransientError

Kind = Literal[
    "none",
    "raise",
    "transient",
    "exit",
    "sigkill",
    "sigstop",
    "segfault",
    "spin",
    "sleep",
    "memory",
    "hoard",
    "fork",
    "garbage",
    "wrong type",
    "destroy",
    "damage",
]
Point = Literal["first", "middle", "last", "output", "writing"]
STEPS = 6


class ChaosPredictor(Predictor):
    """Six steps with a collective each, then an output; breaks on request."""

    pipe = None
    damaged = False
    output_suffix = ".txt"

    def setup(self) -> None:
        order = Path(os.environ.get("CHAOS_SETUP", "/no/such/file"))
        if order.exists():
            rank, kind = order.read_text().split(" ", 1)
            if int(rank) in (-1, int(os.environ["RANK"])):
                break_now(kind)
        dist.init_process_group("gloo")

    def predict(
        self,
        kind: Kind = "none",
        point: Point = "middle",
        rank: Annotated[int, Field(ge=-1, description="-1: all ranks")] = 0,
        marker: Annotated[str, Field(description="break only while this file does not exist")] = "",
        seed: int = 0,
        delay: Annotated[float, Field(ge=0)] = 0.005,
        *,
        output_path: str,
    ) -> Any:
        breaks = kind != "none" and rank in (-1, dist.get_rank())
        at = {"first": 1, "middle": STEPS // 2, "last": STEPS}.get(point, STEPS + 1)
        total = torch.zeros(1, dtype=torch.float64)
        if self.damaged:
            raise RuntimeError("an earlier job has left its traces")
        if breaks and kind == "damage":
            self.damaged = True
        for step in range(1, STEPS + 1):
            if breaks and step == at and not spent(marker):
                break_now(kind)
            value = torch.tensor([float(seed + step)], dtype=torch.float64)
            dist.all_reduce(value)
            total += value
            time.sleep(delay)
            self.step(step, STEPS)
        if point == "writing":
            return Breaking(kind if breaks else "none", marker, f"{seed} {total.item()!r}\n")
        if dist.get_rank() == 0:
            with Path(output_path).open("w") as file:
                file.write(f"{seed} ")
                if breaks and at > STEPS and not spent(marker):
                    break_now(kind)
                file.write(f"{total.item()!r}\n")
        elif breaks and at > STEPS and not spent(marker):
            break_now(kind)
        return None


class Breaking(Image.Image):
    """A picture whose encoder breaks."""

    def __init__(self, kind: str, marker: str, text: str) -> None:
        super().__init__()
        self.__dict__.update(Image.new("L", (1, 1)).__dict__)
        self.kind, self.marker, self.text = kind, marker, text

    def copy(self) -> Image.Image:
        """Itself: a copy would be none of this class."""
        return self

    def save(self, path: Any, *args: Any, **kwargs: Any) -> None:
        Path(path).write_text(self.text)
        if self.kind != "none" and not spent(self.marker):
            break_now(self.kind)


def spent(marker: str) -> bool:
    """True when this rank has broken before; remembers that it breaks now. Without a marker it always breaks."""
    if not marker:
        return False
    own = Path(f"{marker}.{os.environ['RANK']}")
    if own.exists():
        return True
    own.touch()
    return False


def break_now(kind: str) -> None:
    """Do the damage."""
    match kind:
        case "raise":
            raise ValueError("chaos was asked for")
        case "transient":
            raise TransientError("chaos was asked for, and may not come again")
        case "wrong type":
            torch.zeros(1) + "text"  # type: ignore[operator]
        case "exit":
            os._exit(3)
        case "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "sigstop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "spin":
            while True:
                pass
        case "sleep":
            time.sleep(3600)
        case "memory":
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (2 * 2**30, hard))
            try:
                hoard = [bytes(2**28) for _ in range(64)]  # asked for, never touched: it fails at once
                del hoard
            finally:
                resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        case "hoard":
            hoard = []
            for _ in range(32):  # until the kernel's out-of-memory killer comes; 2 GiB are enough to find out
                hoard.append(bytearray(os.urandom(4096) * 2**14))
        case "fork":
            subprocess.Popen(["sleep", "3600"])
            os._exit(3)
        case "garbage":
            sys.stdout.buffer.write(os.urandom(4096))
            sys.stdout.flush()
        case "destroy":
            dist.destroy_process_group()
