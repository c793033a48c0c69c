"""Predictors for tests: no model, real collectives, steps reported by hand. Quick to set up."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
from PIL import Image
from pydantic import Field

from para_attn_server import Predictor


class CountingPredictor(Predictor):
    """Counts steps with one all_reduce each; the output holds the seed and the sum.

    jitter: each rank sleeps up to that many seconds more, differently, at every step.
    fail_at, fail_rank: raise at that step (0: before the first) on that rank (-1: on all). die: by os._exit instead.
    swallow: catch every Exception around the steps, as careless predictors do.
    slow_at: that step takes a second longer on one rank, chosen by the seed.
    tail: seconds spent after the last step, in no step.
    differ: each rank reports another value of that name.
    further: make a picture and a text as well. miss: but not the text.
    writing: return what is written, which takes that many seconds.
    """

    pipe = None
    output_suffix = ".txt"

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(
        self,
        steps: Annotated[int, Field(ge=1, le=100000)] = 5,
        delay: Annotated[float, Field(ge=0)] = 0.005,
        jitter: Annotated[float, Field(ge=0)] = 0.0,
        seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0,
        text: str = "",
        fail_at: int = -1,
        fail_rank: int = -1,
        die: bool = False,
        swallow: bool = False,
        slow_at: int = -1,
        tail: float = 0.0,
        write: bool = True,
        differ: str = "",
        further: bool = False,
        miss: bool = False,
        writing: Annotated[float, Field(ge=0)] = 0.0,
        *,
        output_path: str,
    ) -> Any:
        self._fault(0, fail_at, fail_rank, die)
        rng = random.Random(seed * 1000 + dist.get_rank())
        total = torch.zeros(1, dtype=torch.float64)
        for step in range(1, steps + 1):
            slow = step == slow_at and seed % dist.get_world_size() == dist.get_rank()
            time.sleep(delay + rng.uniform(0, jitter) + slow)
            value = torch.tensor([seed * 0.001 + step * (dist.get_rank() + 1)], dtype=torch.float64)
            dist.all_reduce(value)
            total += value
            self._fault(step, fail_at, fail_rank, die)
            try:
                self.step(step, steps)
            except Exception:
                if not swallow:
                    raise
        self.log(f"counted {steps} steps")
        self.report(width=96, **({differ: dist.get_rank()} if differ else {}))
        time.sleep(tail)
        counted = f"{seed} {total.item()!r} {text}\n"
        if dist.get_rank() == 0 and write and not writing:
            Path(output_path).write_text(counted)
        if further:
            self._write_more(seed, miss)
        return Slow(writing, counted) if writing else None

    def _write_more(self, seed: int, miss: bool) -> None:
        picture, text = self.output_path(".png", role="chart"), self.output_path(role="notes")
        if dist.get_rank() == 0:
            Image.new("RGB", (40, 30)).save(picture)
            if not miss:
                text.write_text(f"notes of {seed}")

    def _fault(self, step: int, fail_at: int, fail_rank: int, die: bool) -> None:
        if step == fail_at and fail_rank in (-1, dist.get_rank()):
            if die:
                os._exit(7)
            raise ValueError(f"asked to fail at step {step}, see /etc/very/secret.txt")


class Slow(Image.Image):
    """A picture by its class, a text by its content; its encoder is slow."""

    def __init__(self, seconds: float, text: str) -> None:
        super().__init__()
        self.__dict__.update(Image.new("L", (1, 1)).__dict__)
        self.seconds, self.text = seconds, text

    def copy(self) -> Image.Image:
        """Itself: a copy would be none of this class."""
        return self

    def save(self, path: Any, *args: Any, **kwargs: Any) -> None:
        time.sleep(self.seconds / 2)
        Path(path).write_text(self.text)
        time.sleep(self.seconds / 2)


class ManyStepsAhead(Predictor):
    """Stands for a GPU: a step is only launched when it is reported; the work is done by a thread of its own."""

    output_suffix = ".txt"

    def setup(self) -> None:
        dist.init_process_group("gloo")

    def predict(self, steps: int = 20, seed: int = 0, *, output_path: str) -> None:
        pending = []
        value = torch.ones(1, dtype=torch.float64)
        for step in range(1, steps + 1):
            pending.append(dist.all_reduce(value, async_op=True))
            if dist.get_rank() == 1:
                time.sleep(0.003 * (step % 3))
            self.step(step, steps)
        for work in pending:
            work.wait()
        if dist.get_rank() == 0:
            Path(output_path).write_text(f"{value.item()!r}\n")
