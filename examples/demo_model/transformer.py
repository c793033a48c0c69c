"""Trains the FluxTransformer2DModel: velocity prediction on latents of drawn pictures, given their captions."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor, nn

from .common import Budget, every, learning_rate, load_checkpoint, save_checkpoint, set_rates
from .pools import Pool, build_pool, image_ids
from .text import WIDTH, TextModels
from .training_attention import TrainingAttention
from .vae import LATENTS
from .word_tokenizers import TEXT_LENGTH

ROUND_SECONDS = 2500.0
EMA = 0.998
SHIFT = 3.0
# Picture size (height, width): pictures in a pool, batch size, share of the steps.
PLAN: dict[tuple[int, int], tuple[int, int, float]] = {
    (64, 64): (9000, 80, 0.12),
    (128, 128): (18000, 40, 0.76),
    (96, 96): (1500, 56, 0.02),
    (192, 192): (1500, 16, 0.03),
    (256, 256): (1500, 10, 0.05),
    (64, 128): (800, 56, 0.01),
    (128, 64): (800, 56, 0.01),
}


def build_transformer() -> FluxTransformer2DModel:
    """A fresh transformer: one double and four single blocks, four heads of 32, starting from a zero output."""
    torch.manual_seed(11)
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENTS,
        num_layers=1,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and (name.endswith("norm.linear") or ".norm1" in name or "norm_out" in name):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.zeros_(model.proj_out.weight)
    nn.init.zeros_(model.proj_out.bias)
    return model


def build_optimizers(model: FluxTransformer2DModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for all else."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        in_block = "transformer_blocks" in name and parameter.ndim == 2
        (matrices if in_block else others).append(parameter)
    muon = torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.01)
    return [muon, torch.optim.AdamW(others, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.01)]


def noisy_times(count: int, generator: torch.Generator) -> Tensor:
    """Noise levels in (0, 1], stratified over the batch and shifted as the scheduler shifts its own."""
    spread = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return SHIFT * spread / (1 + (SHIFT - 1) * spread)


def velocity_loss(
    model: FluxTransformer2DModel, pool: Pool, text: TextModels, count: int, generator: torch.Generator
) -> Tensor:
    """Weighted squared error of the predicted velocity (noise minus picture) on a random batch."""
    latents, weights, clip_ids, t5_ids = pool.batch(count, generator)
    with torch.no_grad():
        pooled, sequence = text.encode(clip_ids, t5_ids)
    noise = torch.randn(latents.shape, generator=generator)
    times = noisy_times(count, generator)
    level = times.view(-1, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(
            hidden_states=(1 - level) * latents + level * noise,
            timestep=times,
            pooled_projections=pooled,
            encoder_hidden_states=sequence,
            txt_ids=torch.zeros(TEXT_LENGTH, 3),
            img_ids=image_ids(pool.height, pool.width),
            return_dict=False,
        )[0]
    error = (output.float() - (noise - latents)).square()
    return (weights * error).mean() / weights.mean()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights a little towards the current ones."""
    current = [p.detach() for p in model.parameters()]
    torch._foreach_lerp_(list(average.parameters()), current, 1 - decay)


class Trainer:
    """The transformer in training, with its averaged copy, its optimizers and its place in the budget."""

    def __init__(self, work: Path, seconds: float) -> None:
        """Start afresh, or where the checkpoint in the work folder stands."""
        self.path = work / "transformer.pt"
        self.model = build_transformer()
        self.model.set_attn_processor(TrainingAttention())
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizers = build_optimizers(self.model)
        self.step, spent = 0, 0.0
        state = load_checkpoint(self.path)
        if state:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step, spent = state["step"], state["spent"]
        self.budget = Budget(seconds, spent)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "spent": self.budget.spent,
        }
        save_checkpoint(self.path, state)

    def train_step(self, pool: Pool, text: TextModels, generator: torch.Generator) -> float:
        """One step of both optimizers and of the average."""
        set_rates(self.optimizers, learning_rate(self.budget.progress, self.step, 0.5))
        loss = velocity_loss(self.model, pool, text, PLAN[pool.height, pool.width][1], generator)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        follow(self.average, self.model, min(EMA, 1 - 1 / (1 + self.step / 10)))
        self.step += 1
        return loss.item()

    def run_round(self, pools: list[Pool], text: TextModels, until: float) -> None:
        """Train on these pools until the budget has spent so many seconds."""
        generator = torch.Generator().manual_seed(3000 + self.step)
        rng = np.random.default_rng(3000 + self.step)
        shares = np.array([PLAN[pool.height, pool.width][2] for pool in pools])
        due = every(30.0)
        recent: dict[str, float] = {}
        while self.budget.spent < until and self.budget.progress < 1:
            pool = pools[int(rng.choice(len(pools), p=shares / shares.sum()))]
            loss = self.train_step(pool, text, generator)
            size = f"{pool.height}x{pool.width}"
            recent[size] = recent.get(size, loss) + 0.03 * (loss - recent.get(size, loss))
            if next(due):
                self.save()
                losses = " ".join(f"{name}: {value:.4f}" for name, value in sorted(recent.items()))
                print(f"transformer {self.budget.spent:.0f}s step {self.step} {losses}", flush=True)
        self.save()


def round_pools(work: Path, number: int, vae: AutoencoderKL, text: TextModels, scale: float) -> list[Pool]:
    """The pools of one round of training, kept in the work folder so that a resumed run need not draw them again."""
    path = work / "pools.pt"
    state = load_checkpoint(path)
    if state and state["number"] == number:
        return [Pool(**fields) for fields in state["pools"]]
    rng = np.random.default_rng(4000 + number)
    pools = [build_pool(vae, text, size, int(plan[0] * scale), rng) for size, plan in PLAN.items()]
    save_checkpoint(path, {"number": number, "pools": [vars(pool) for pool in pools]})
    return pools


def train_transformer(work: Path, seconds: float, vae: AutoencoderKL, text: TextModels, scale: float = 1.0) -> None:
    """Train (or go on training) for a budget of CPU seconds, on fresh pools every so often.

    `scale` makes the pools smaller or larger, for a quick first run.
    """
    trainer = Trainer(work, seconds)
    while trainer.budget.progress < 1:
        number = int(trainer.budget.spent // ROUND_SECONDS)
        pools = round_pools(work, number, vae, text, scale)
        print(f"pools ready at {trainer.budget.spent:.0f}s", flush=True)
        trainer.run_round(pools, text, (number + 1) * ROUND_SECONDS)
