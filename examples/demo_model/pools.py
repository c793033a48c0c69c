"""Pools of training examples for the transformer: latents of random pictures, with a few captions for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .captions import caption, with_gaps
from .common import pictures
from .scenes import Scene, sample_scene
from .text import TextModels
from .vae import LATENTS

TOKEN = 16
CAPTIONS = 3
GAPS = 0.06


@dataclass
class Pool:
    """Examples of one picture size; captions are stored as token numbers, `captions` of them for each picture."""

    height: int
    width: int
    latents: Tensor
    weights: Tensor
    clip_ids: Tensor
    t5_ids: Tensor

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A random batch: latents (N x tokens x channels), loss weights, CLIP and T5 token numbers."""
        rows = torch.randint(len(self.latents), (count,), generator=generator)
        which = torch.randint(CAPTIONS, (count,), generator=generator)
        clip_ids, t5_ids = self.clip_ids[rows, which].long(), self.t5_ids[rows, which].long()
        return self.latents[rows].float(), self.weights[rows].float(), clip_ids, t5_ids


def pack(latents: Tensor) -> Tensor:
    """Flux's packing: each 2 x 2 patch of latents becomes one token; N x C x H x W to N x (HW/4) x 4C."""
    count, channels, height, width = latents.shape
    patches = latents.view(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(count, height * width // 4, channels * 4)


def image_ids(height: int, width: int) -> Tensor:
    """The positions of the image tokens, as the pipeline numbers them."""
    rows, columns = height // TOKEN, width // TOKEN
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] += torch.arange(rows)[:, None]
    ids[..., 2] += torch.arange(columns)[None, :]
    return ids.reshape(-1, 3)


def token_weights(images: Tensor) -> Tensor:
    """Loss weights: four for tokens that a shape touches, one for bare background; N x tokens x 1."""
    difference = (images - images[:, :, :1, :1]).abs().amax(1, keepdim=True)
    touched = torch.nn.functional.max_pool2d(difference, TOKEN) > 0.1
    return (1.0 + 3.0 * touched).flatten(1).unsqueeze(2)


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Normalised, packed latents of a batch of pictures."""
    latents = vae.encoder(images)[:, :LATENTS]
    return pack((latents - vae.config.shift_factor) * vae.config.scaling_factor)


def build_pool(
    vae: AutoencoderKL, text: TextModels, size: tuple[int, int], count: int, rng: np.random.Generator
) -> Pool:
    """Draw and encode `count` random training pictures of one size."""
    height, width = size
    latents: list[Tensor] = []
    weights: list[Tensor] = []
    scenes: list[Scene] = []
    chunk = max(1, 16 * 64 * 64 // (height * width))
    while len(scenes) < count:
        batch = [sample_scene(rng, "train", two=0.45) for _ in range(chunk)]
        images = pictures(batch, rng, height, width)
        latents.append(encode_pictures(vae, images).half())
        weights.append(token_weights(images).half())
        scenes.extend(batch)
    clip_ids, t5_ids = text.tokens(
        [caption(with_gaps(scene, rng, GAPS), rng) for scene in scenes for _ in range(CAPTIONS)]
    )
    shape = (len(scenes), CAPTIONS, -1)
    return Pool(
        height,
        width,
        torch.cat(latents),
        torch.cat(weights),
        clip_ids.short().view(shape),
        t5_ids.short().view(shape),
    )
