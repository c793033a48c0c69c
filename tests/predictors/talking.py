"""A predictor that talks in every way there is: logs, prints, warns, writes past Python, fails, dies."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Literal

import torch.distributed as dist

from para_attn_server import Predictor


class TalkingPredictor(Predictor):
    """Three steps; what it does between the second and the third is its argument."""

    pipe = None
    output_suffix = ".txt"

    def setup(self) -> None:
        dist.init_process_group("gloo")
        talk("setup")

    def predict(self, how: Literal["", "flood", "slow", "talk", "fail", "die"] = "", *, output_path: str) -> None:
        for step in (1, 2):
            self.step(step, 3)
        if how == "flood":
            for line in range(20_000):
                self.log(f"{line} " + "x" * 200)
        elif how == "slow":
            for line in range(12):
                self.log(f"layer {line}")
                time.sleep(0.25)
        elif how == "talk":
            talk("predict")
        elif how == "fail":
            self.log("about to fail")
            raise ValueError('quote " and\nnewline in /srv/private/weights.bin')
        elif how == "die" and dist.get_rank() == 0:
            self.log("last words")
            os.kill(os.getpid(), signal.SIGKILL)
        self.step(3, 3)
        if dist.get_rank() == 0:
            Path(output_path).write_text(f"{how}\n")


def talk(where: str) -> None:
    """Everything but the job's log."""
    print(f"{where}: printed")
    print(f"{where}: printed to stderr", file=sys.stderr)
    print(f"{where}: without an end", end="", flush=True)
    warnings.warn(f"{where}: warned", stacklevel=1)
    logging.getLogger("some.library").warning("%s: logged %s", where, '"quoted"')
    own = logging.getLogger("own.handler")
    own.propagate = False
    own.addHandler(logging.StreamHandler())
    own.warning("%s: by a handler of its own", where)
    os.write(2, f"{where}: past Python\n".encode())
    sys.stdout.buffer.write(f"{where}: \xff bytes\n".encode("latin1"))
    sys.stdout.buffer.flush()
    ctypes.CDLL(None).puts(f"{where}: from C".encode())
    ctypes.CDLL(None).fflush(None)
    subprocess.run(["echo", f"{where}: by a child"], check=True)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
