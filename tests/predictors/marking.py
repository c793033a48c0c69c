"""Predictors of single ranks that leave their mark on what they make, to tell by which model a job was done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from para_attn_server import Predictor


class MarkingPredictor(Predictor):
    """The output holds the seed, the mark and the text. A step is a pause."""

    pipe = None
    output_suffix = ".txt"

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def setup(self) -> None: ...

    def predict(
        self,
        steps: Annotated[int, Field(ge=1, le=100000)] = 5,
        delay: Annotated[float, Field(ge=0)] = 0.005,
        seed: int = 0,
        text: str = "",
        *,
        output_path: str,
    ) -> None:
        self._work(steps, delay)
        Path(output_path).write_text(f"{seed} {self._mark} {text}\n")

    def _work(self, steps: int, delay: float) -> None:
        for step in range(1, steps + 1):
            time.sleep(delay)
            self.step(step, steps)


class ShadedPredictor(MarkingPredictor):
    """The same with an argument `model` of its own, and another default of `steps`."""

    def predict(  # type: ignore[override]
        self, steps: int = 7, delay: float = 0.005, seed: int = 0, text: str = "", model: str = "", *, output_path: str
    ) -> None:
        self._work(steps, delay)
        Path(output_path).write_text(f"{seed} {self._mark} {text}{model}\n")


class FailingPredictor(MarkingPredictor):
    """Cannot be set up as long as the file `mark` is not there."""

    def setup(self) -> None:
        if not Path(self._mark).exists():
            raise RuntimeError("the weights are not there")
