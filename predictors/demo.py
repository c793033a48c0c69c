"""The embedded demo model: FluxPredictor with small trained weights that ship in this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from para_attn_predictors.flux import FluxPredictor, Seed

WEIGHTS = Path(__file__).with_name("demo_weights")
"""A FluxPipeline of 4 attention heads (1, 2 or 4 ranks) that draws one or two colored shapes."""

Side = Annotated[int, Field(ge=64, le=256)]
TEXT_TOKENS = 32
"""The length of text the model was trained with; at others its colors suffer."""


class DemoPredictor(FluxPredictor):
    """Draws shapes such as "a large red circle on the left on a blue background" on any CPU in seconds."""

    def __init__(self, model_path: str = str(WEIGHTS)) -> None:
        super().__init__(model_path)

    def limits(self) -> dict[str, dict[str, Any]]:
        """Sizes that divide evenly among the ranks; the length of text is fixed here."""
        return {name: bounds for name, bounds in super().limits().items() if name != "max_sequence_length"}

    def predict(
        self,
        prompt: Annotated[
            str, Field(min_length=1, max_length=500, description="One or two shapes: size, color, place, background.")
        ],
        height: Annotated[Side, Field(description="Height of the picture in pixels.")] = 128,
        width: Annotated[Side, Field(description="Width of the picture in pixels.")] = 128,
        num_inference_steps: Annotated[int, Field(ge=1, le=50, description="Denoising steps.")] = 20,
        seed: Seed = None,
    ) -> Any:
        """Draw one picture; what rank zero returns is the job's output."""
        return self.draw(
            seed,
            prompt=prompt,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            max_sequence_length=TEXT_TOKENS,
        )
