"""Trains the AutoencoderKL, encoder and decoder together.

It is trained as a plain autoencoder on the latent mean with a little noise; it is not a generative VAE, and its
variance output is fixed to almost nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from .common import Budget, every, learning_rate, load_checkpoint, pictures, save_checkpoint, set_rates
from .scenes import sample_scene

CHANNELS = (16, 32, 32, 32)
LATENTS = 8
NOISE = 0.06
BATCHES = ((64, 64, 8), (128, 128, 2), (64, 64, 8), (128, 128, 2), (96, 96, 4), (64, 128, 4), (256, 256, 1))


def build_vae() -> AutoencoderKL:
    """A fresh autoencoder: factor 8, no attention, no quantisation layers, with a calm start."""
    depth = len(CHANNELS)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=1,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=128,
    )
    _calm_start(vae)
    return vae.to(memory_format=torch.channels_last)


@torch.no_grad()
def _calm_start(vae: AutoencoderKL) -> None:
    """Zero the last layer of every residual, make resampling near identity, and fix the variance output."""
    for name, module in vae.named_modules():
        if name.endswith("conv2"):
            nn.init.zeros_(module.weight)
        if name.endswith("downsamplers.0.conv"):
            module.weight.mul_(0.3)
            for channel in range(module.weight.shape[0]):
                module.weight[channel, channel, :2, :2] += 0.25
        if name.endswith("upsamplers.0.conv"):
            identity = torch.empty_like(module.weight)
            module.weight.mul_(0.3).add_(nn.init.dirac_(identity))
    vae.encoder.conv_out.weight[LATENTS:] = 0
    vae.encoder.conv_out.bias[LATENTS:] = -14.0


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 plus squared error, with the pixels around edges weighing more."""
    edges = torch.zeros_like(target[:, :1])
    edges[..., 1:] += (target[..., 1:] - target[..., :-1]).abs().amax(1, keepdim=True)
    edges[..., 1:, :] += (target[..., 1:, :] - target[..., :-1, :]).abs().amax(1, keepdim=True)
    weight = 1 + 3 * F.max_pool2d(edges, 3, 1, 1).clamp(max=1)
    error = output.float() - target
    return (weight * (error.abs() + error.square())).mean()


def _step(vae: AutoencoderKL, size: tuple[int, int, int], rng: np.random.Generator) -> torch.Tensor:
    """The loss of one random batch, with noise of a random strength on its latents."""
    height, width, count = size
    images = pictures([sample_scene(rng, "train") for _ in range(count)], rng, height, width)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents = vae.encoder(images)[:, :LATENTS].float()
        strength = 2 * NOISE * torch.rand(count, 1, 1, 1)
        output = vae.decoder(latents + strength * torch.randn_like(latents))
    return reconstruction_loss(output, images) + 1e-4 * latents.square().mean()


def train_vae(work: Path, seconds: float) -> AutoencoderKL:
    """Train (or go on training) for a budget of CPU seconds."""
    torch.manual_seed(3)
    vae = build_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    path = work / "vae.pt"
    state = load_checkpoint(path)
    if state:
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    _run(vae, optimizer, path, Budget(seconds, state["spent"] if state else 0.0), state["step"] if state else 0)
    return vae.requires_grad_(False).eval()


@torch.no_grad()
def measure_latents(vae: AutoencoderKL) -> AutoencoderKL:
    """Write the shift and the scale that make latents of mean zero and deviation one into the configuration."""
    rng = np.random.default_rng(99)
    images = pictures([sample_scene(rng, "train") for _ in range(64)], rng, 128, 128)
    latents = vae.encoder(images)[:, :LATENTS]
    shift, deviation = round(latents.mean().item(), 3), round(latents.std().item(), 3)
    vae.register_to_config(shift_factor=shift, scaling_factor=1 / deviation)
    return vae


def _run(vae: AutoencoderKL, optimizer: torch.optim.Optimizer, path: Path, budget: Budget, step: int) -> None:
    """The training loop, with a checkpoint and a log line now and then and at the end."""
    rng = np.random.default_rng(1000 + step)
    torch.manual_seed(1000 + step)
    due, losses = every(20.0), [0.0] * len(BATCHES)
    while budget.progress < 1:
        set_rates([optimizer], learning_rate(budget.progress, step, 0.4))
        loss = _step(vae, BATCHES[step % len(BATCHES)], rng)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses[step % len(BATCHES)] = loss.item()
        step += 1
        if next(due) or budget.progress >= 1:
            state = {
                "model": vae.state_dict(),
                "optimizer": optimizer.state_dict(),
                "spent": budget.spent,
                "step": step,
            }
            save_checkpoint(path, state)
            print(
                f"{path.stem} {budget.spent:.0f}s step {step} loss {sum(losses) / len(losses):.4f}",
                flush=True,
            )
