"""A predictor for tests that emits events."""

from __future__ import annotations

import time
from typing import Annotated, Any

import torch.distributed as dist
from pydantic import Field

from para_attn_server import Predictor

PICTURE = b"\xff\xd8\xff" + bytes(range(256)) * 400
"""As long as a preview is, and longer than what goes into a pipe at once."""


class EmittingPredictor(Predictor):
    """Each step emits its number, a word of the text, and a picture if wanted; `burst` numbers more at once.

    bad: emit that instead, once. delay: seconds a step.
    """

    pipe = None
    output_suffix = ".txt"

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(
        self,
        words: list[str],
        delay: Annotated[float, Field(ge=0, le=10)] = 0.01,
        pictures: bool = False,
        burst: Annotated[int, Field(ge=0, le=100_000)] = 0,
        bad: Any = None,
    ) -> str:
        if bad is not None:
            self.emit("boxes", [{"box": {1, 2}}] if bad == "set" else bad)
        for number in range(burst):
            self.emit("burst", number)
        for step, word in enumerate(words, start=1):
            self.emit("text", word)
            self.emit("state", {"word": step})
            if pictures:
                self.emit("preview", PICTURE)
            self.log(f"word {step}")
            time.sleep(delay)
            self.step(step, len(words))
        return "".join(words)
