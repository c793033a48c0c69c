"""What `make gpu-check` serves: a FluxPipeline with random weights, wide as the real one but with few blocks.

The predictor is FluxPredictor with one more argument, which takes GPU memory away from a job.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from pydantic import Field

from para_attn_predictors.flux import FluxPredictor

GIB = 1 << 30


class BallastPredictor(FluxPredictor):
    """FluxPredictor; a job with `ballast` holds that many GiB more of the GPU's memory while it draws."""

    def predict(
        self,
        prompt: str,
        height: int = 1024,
        width: int = 1024,
        num_inference_steps: int = 8,
        max_sequence_length: int = 512,
        ballast: Annotated[int, Field(ge=0, le=1024)] = 0,
        seed: int = 0,
    ) -> Any:
        """Draw one picture of `width` x `height` pixels."""
        held = torch.empty(ballast * GIB, dtype=torch.uint8, device=self.pipe.device)
        drawn = self.draw(
            seed,
            prompt=prompt,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            max_sequence_length=max_sequence_length,
        )
        del held
        return drawn


def save_wide_flux(folder: Path) -> Path:
    """Save 1.8 billion random weights in bfloat16 (heads, head size and VAE of FLUX.1, tiny text encoders)."""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
    from pipelines import save_tiny_flux

    pipe = FluxPipeline.from_pretrained(save_tiny_flux(folder / "tiny"), dtype=torch.bfloat16)
    with torch.device("cuda"):
        torch.manual_seed(0)
        transformer = FluxTransformer2DModel(
            in_channels=32, num_layers=2, num_single_layers=8, joint_attention_dim=64, pooled_projection_dim=64
        )
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=8,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.0,
        )
    pipe.register_modules(transformer=transformer.to(torch.bfloat16), vae=vae.to(torch.bfloat16))
    pipe.save_pretrained(folder / "wide")
    return folder / "wide"
