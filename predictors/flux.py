"""FLUX text-to-image on all ranks of a worker group."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from diffusers import FluxPipeline
from pydantic import Field

from para_attn_server import Predictor
from para_attn_server.parallel import parallelize, rank_device, ulysses_limits

Seed = Annotated[
    Annotated[int, Field(ge=0, le=2**32 - 1)] | None,
    Field(description="The same seed and arguments give the same picture; the server draws one that is left out."),
]

Dtype = Literal["auto", "bfloat16", "float16", "float32"]


class FluxPredictor(Predictor):
    """Draws a picture with a FluxPipeline; each of the group's ranks computes an equal share of every step.

    model_path: a local folder that `FluxPipeline.save_pretrained` wrote, or a repo id on the model hub. dtype: of the
    weights; auto is bfloat16 on GPUs and float32 on the CPU. revision: a branch, tag or commit of the repo.
    """

    def __init__(
        self, model_path: str = "black-forest-labs/FLUX.1-dev", dtype: Dtype = "auto", revision: str | None = None
    ) -> None:
        self.model_path, self.dtype, self.revision = model_path, dtype, revision

    def setup(self) -> None:
        """Load the pipeline on this rank's device and spread it over the ranks.

        Raises OSError or ValueError where the weights are not found, SetupFailed where they cannot be spread.
        """
        dist.init_process_group()
        device = rank_device()
        chosen = self.dtype if self.dtype != "auto" else "bfloat16" if device.type == "cuda" else "float32"
        dtype = getattr(torch, chosen)
        self.pipe = FluxPipeline.from_pretrained(self.model_path, dtype=dtype, revision=self.revision).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        parallelize(self.pipe)

    def limits(self) -> dict[str, dict[str, Any]]:
        """Sizes and text lengths that divide evenly among the ranks."""
        return ulysses_limits(self.pipe)

    def predict(
        self,
        prompt: Annotated[str, Field(min_length=1, max_length=4096, description="What the picture shows.")],
        height: Annotated[int, Field(ge=64, le=2048, description="Height of the picture in pixels.")] = 1024,
        width: Annotated[int, Field(ge=64, le=2048, description="Width of the picture in pixels.")] = 1024,
        num_inference_steps: Annotated[
            int, Field(ge=1, le=100, description="Denoising steps: more take longer and add detail.")
        ] = 28,
        guidance_scale: Annotated[
            float, Field(ge=0, le=20, description="How closely the prompt is followed; FLUX.1-schnell ignores it.")
        ] = 3.5,
        max_sequence_length: Annotated[
            int, Field(ge=16, le=512, description="Tokens that the prompt is padded or cut to.")
        ] = 512,
        seed: Seed = None,
    ) -> Any:
        """Draw one picture; what rank zero returns is the job's output."""
        return self.draw(
            seed,
            prompt=prompt,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            max_sequence_length=max_sequence_length,
        )

    def draw(self, seed: int | None, **arguments: Any) -> Any:
        """Run the pipeline with `arguments` on every rank; its output, decoded on rank zero alone.

        seed: for the initial noise, which is drawn on the CPU: it is then the same on every rank and any device.
        None, which no server passes on, stands for 0.
        """
        arguments["generator"] = torch.Generator().manual_seed(seed or 0)
        if dist.get_rank() != 0:
            # Every rank has the finished latents; one picture is wanted, so only rank zero decodes.
            return self.pipe(output_type="latent", **arguments)
        return self.pipe(**arguments)
