"""A predictor that takes a picture and returns four: mirrored, upside down, gray, and inverted.

para-attn-server --model examples/variations.py:Variations --num-devices 2
"""

from typing import Annotated

import torch.distributed as dist
from PIL import ImageOps
from PIL.Image import Image
from pydantic import Field

from para_attn_server import ImageInput, Predictor

Side = Annotated[int, Field(ge=16, le=4096, description="Pixels of the longer side of each picture.")]


class Variations(Predictor):
    """Four pictures of one, without a model: what img2img pipelines take and return."""

    def setup(self) -> None:
        """Runs once in every rank."""
        dist.init_process_group()

    def predict(self, image: ImageInput, side: Side = 256) -> list[Image]:
        """Every rank gets the same picture: a PIL.Image.Image in RGB. What rank zero returns is the job's outputs."""
        image = ImageOps.contain(image, (side, side))
        pictures = []
        for change in (ImageOps.mirror, ImageOps.flip, ImageOps.grayscale, ImageOps.invert):
            pictures.append(change(image))
            self.step(len(pictures), 4)
        return pictures
