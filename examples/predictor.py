"""All one has to write to serve a FLUX model; on GPUs:

para-attn-server --model examples/predictor.py:PicturePredictor --num-devices 4
"""

from typing import Annotated, Any

import torch
import torch.distributed as dist
from diffusers import DiffusionPipeline
from pydantic import Field

from para_attn_server import Predictor
from para_attn_server.parallel import parallelize, rank_device

Prompt = Annotated[str, Field(min_length=1, max_length=1000)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Size = Annotated[int, Field(ge=128, le=2048, multiple_of=128)]
Steps = Annotated[int, Field(ge=1, le=50)]


class PicturePredictor(Predictor):
    """Draws a square picture; model_path is a local folder or a repo id on the model hub."""

    def __init__(self, model_path: str = "black-forest-labs/FLUX.1-schnell") -> None:
        self.model_path = model_path

    def setup(self) -> None:
        """Runs once in every rank."""
        dist.init_process_group()
        self.pipe = DiffusionPipeline.from_pretrained(self.model_path, dtype=torch.bfloat16).to(rank_device())
        parallelize(self.pipe)

    def predict(self, prompt: Prompt, seed: Seed, size: Size = 1024, num_inference_steps: Steps = 4) -> Any:
        """Runs in every rank with the same arguments; what rank zero returns is the job's output."""
        noise = torch.Generator().manual_seed(seed)
        return self.pipe(prompt, height=size, width=size, num_inference_steps=num_inference_steps, generator=noise)
