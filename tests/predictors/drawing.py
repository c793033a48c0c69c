"""A predictor that returns a picture or a video whose encoding takes as long as a test says. Usable with --model.

The encoder is Pillow's; `hold` names a file until whose end it waits first, as a slow one would, and `fault` what it
does then. Two ranks meet in a collective at each step.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from pydantic import Field

from para_attn_server import Predictor

Fault = Literal["none", "raise", "disk", "sigkill", "hang"]


class SlowImage(Image.Image):
    """Waits before it is saved, and where its file is, as an encoder in native code: it hears of no stop."""

    hold = ""
    fault = "none"

    def copy(self) -> Image.Image:
        """Itself: a copy would be none of this class."""
        return self

    def save(self, path: Any, *args: Any, **kwargs: Any) -> None:
        Path(path).write_bytes(b"half of a picture")
        while self.hold and Path(self.hold).exists():
            time.sleep(0.01)
        match self.fault:
            case "raise":
                raise ValueError("the encoder was asked to")
            case "disk":
                raise OSError(28, "No space left on device", str(path))
            case "sigkill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                threading.Event().wait()
        super().save(path, *args, **kwargs)


class DrawingPredictor(Predictor):
    """Gray pictures whose brightness is the seed."""

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(
        self,
        seed: Annotated[int, Field(ge=0, le=255)] = 0,
        steps: Annotated[int, Field(ge=1, le=10_000)] = 2,
        delay: Annotated[float, Field(ge=0)] = 0.005,
        hold: Annotated[str, Field(description="encode once this file does not exist any more")] = "",
        fault: Fault = "none",
        die: Annotated[int, Field(description="the rank that is killed after the first step")] = -1,
    ) -> Any:
        total = torch.zeros(1)
        for step in range(1, steps + 1):
            dist.all_reduce(total)
            time.sleep(delay)
            self.step(step, steps)
            if die == dist.get_rank():
                os.kill(os.getpid(), signal.SIGKILL)
        drawn = SlowImage()
        drawn.__dict__.update(Image.fromarray(np.full((8, 8, 3), seed, np.uint8)).__dict__)
        drawn.hold, drawn.fault = hold, fault
        return drawn
