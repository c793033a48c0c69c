"""A predictor that calls its pipelines in every way that a request can ask for. No model, real collectives."""

from __future__ import annotations

import copy
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
from pydantic import Field

from para_attn_server import Predictor

Way = Literal[
    "as it is",
    "fresh scheduler",
    "order 2",
    "self.pipe replaced",
    "in a list",
    "made here",
    "copied",
    "from_pipe",
    "in a thread",
]


class Silent(DiffusionPipeline):
    """No callback; steps its scheduler and, beside it, a deep copy of it. One all_reduce a step."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler)

    def __call__(self, steps: int, delay: float) -> torch.Tensor:
        picture, sound = torch.ones(1, 4), torch.zeros(1, 4)
        self.scheduler.set_timesteps(steps)
        second = copy.deepcopy(self.scheduler)
        for t in self.scheduler.timesteps:
            time.sleep(delay)
            dist.all_reduce(sound)
            picture = self.scheduler.step(picture * 0.1, t, picture).prev_sample
            sound = second.step(sound * 0.1, t, picture).prev_sample
        return picture + sound


class Other(Silent):
    """Another class of pipeline, for from_pipe."""


class ManyPipes(Predictor):
    """Writes what the pipeline drew."""

    output_suffix = ".txt"

    def setup(self) -> None:
        dist.init_process_group("gloo")
        self.pipe = Silent(FlowMatchEulerDiscreteScheduler())
        self.others = [Silent(FlowMatchEulerDiscreteScheduler())]

    def predict(
        self, output_path: str, way: Way = "as it is", steps: Annotated[int, Field(ge=1)] = 4, delay: float = 0.0
    ) -> None:
        drawn: list[torch.Tensor] = []
        pipe = self.chosen(way)
        if way == "in a thread":
            thread = threading.Thread(target=lambda: drawn.append(pipe(steps, delay)))
            thread.start()
            thread.join()
        else:
            drawn.append(pipe(steps, delay))
        if dist.get_rank() == 0:
            Path(output_path).write_text(f"{drawn[0].tolist()!r}\n")

    def chosen(self, way: Way) -> Any:
        """The pipeline that a request asks for."""
        euler = FlowMatchEulerDiscreteScheduler()
        match way:
            case "fresh scheduler":
                self.pipe.scheduler = type(self.pipe.scheduler).from_config(self.pipe.scheduler.config)
            case "order 2":
                return Silent(FlowMatchHeunDiscreteScheduler())
            case "self.pipe replaced":
                self.pipe = Silent(euler)
            case "in a list":
                return self.others[0]
            case "made here":
                return Silent(euler)
            case "copied":
                return copy.copy(self.pipe)
            case "from_pipe":
                return Other.from_pipe(self.pipe)
        return self.pipe
