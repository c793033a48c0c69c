"""Trains the two text encoders: before any picture is drawn, their outputs learn to tell a caption's attributes.

They are small CLIP and T5 encoders of the transformers library; linear read-out heads exist in training alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from .captions import ANY_SHAPE, caption, with_gaps
from .common import Budget, every, learning_rate, load_checkpoint, save_checkpoint, set_rates
from .scenes import COLOURS, PLACES, SHAPES, SIZES, Scene, resolved_places, sample_scene
from .word_tokenizers import TEXT_LENGTH, build_clip_tokenizer, build_t5_tokenizer

WIDTH = 64
NAMES: tuple[tuple[str | None, ...], ...] = (
    (None, *SHAPES),
    (None, *COLOURS),
    (None, *PLACES),
    (None, *SIZES),
)


@dataclass
class TextModels:
    """Both tokenizers and both encoders."""

    clip_tokenizer: CLIPTokenizer
    t5_tokenizer: T5Tokenizer
    clip: CLIPTextModel
    t5: T5EncoderModel

    def tokens(self, captions: list[str], length: int = TEXT_LENGTH) -> tuple[Tensor, Tensor]:
        """The token numbers for CLIP and for T5, padded as the pipeline pads them."""
        return tuple(  # type: ignore[return-value]
            tokenizer(captions, padding="max_length", truncation=True, max_length=size, return_tensors="pt").input_ids
            for tokenizer, size in ((self.clip_tokenizer, TEXT_LENGTH), (self.t5_tokenizer, length))
        )

    def encode(self, clip_ids: Tensor, t5_ids: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled CLIP output and the T5 sequence, as the pipeline computes them (no attention mask)."""
        return self.clip(clip_ids).pooler_output, self.t5(t5_ids)[0]


def build_text_models() -> TextModels:
    """Fresh encoders with their tokenizers."""
    clip_tokenizer, t5_tokenizer = build_clip_tokenizer(), build_t5_tokenizer()
    clip = CLIPTextConfig(
        vocab_size=len(clip_tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    t5 = T5Config(
        vocab_size=len(t5_tokenizer),
        d_model=WIDTH,
        d_kv=16,
        d_ff=2 * WIDTH,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=40,
        feed_forward_proj="relu",
    )
    return TextModels(clip_tokenizer, t5_tokenizer, CLIPTextModel(clip), T5EncoderModel(t5))


def slot_labels(scenes: list[Scene]) -> Tensor:
    """N x 2 x 4 class numbers: shape, colour, place and size of each slot; zero for what the caption leaves out."""
    labels = torch.zeros(len(scenes), 2, 4, dtype=torch.long)
    for row, scene in enumerate(scenes):
        for slot, (item, place) in enumerate(zip(scene.items, resolved_places(scene), strict=True)):
            values = (item.shape, item.colour, place, item.size)
            known = [names.index(v) if v in names else 0 for names, v in zip(NAMES, values, strict=True)]
            labels[row, slot] = torch.tensor(known)
    return labels


class ReadOut(nn.Module):
    """Linear heads that read the attributes from both encoders; their loss is what trains the encoders."""

    def __init__(self, t5_tokenizer: T5Tokenizer) -> None:
        """One head per encoder, and one for the T5 tokens that name a shape."""
        super().__init__()
        self.slot_sizes = [len(names) for names in NAMES]
        whole = len(COLOURS) + 1 + 2 * sum(self.slot_sizes)
        self.pooled, self.mean = nn.Linear(WIDTH, whole), nn.Linear(WIDTH, whole)
        self.noun = nn.Linear(WIDTH, sum(self.slot_sizes) + 2)
        written = [f"▁{form}" for shape in (*SHAPES, ANY_SHAPE) for form in (shape, shape.capitalize(), shape.upper())]
        self.noun_ids = torch.tensor(t5_tokenizer.convert_tokens_to_ids(written))

    def _whole_loss(self, output: Tensor, labels: Tensor, grounds: Tensor) -> Tensor:
        background, *slots = output.split([len(COLOURS) + 1, *self.slot_sizes, *self.slot_sizes], 1)
        losses = [F.cross_entropy(background, grounds)]
        losses += [F.cross_entropy(part, labels[:, i // 4, i % 4]) for i, part in enumerate(slots)]
        return torch.stack(losses).mean()

    def _noun_loss(self, sequence: Tensor, t5_ids: Tensor, labels: Tensor) -> Tensor:
        """Each token that names a shape must tell all about that shape, and which of the two it is."""
        is_noun = torch.isin(t5_ids, self.noun_ids)
        order = (is_noun.long().cumsum(1)[is_noun] - 1).clamp(max=1)
        rows = is_noun.nonzero()[:, 0]
        own = labels[rows, order]
        *parts, slot = self.noun(sequence[is_noun]).split([*self.slot_sizes, 2], 1)
        losses = [F.cross_entropy(part, own[:, i]) for i, part in enumerate(parts)]
        return torch.stack([*losses, F.cross_entropy(slot, order)]).mean()

    def forward(self, pooled: Tensor, sequence: Tensor, t5_ids: Tensor, scenes: list[Scene]) -> Tensor:
        """The summed loss of all heads."""
        labels = slot_labels(scenes)
        names = [None, *COLOURS]
        grounds = torch.tensor([names.index(scene.background) for scene in scenes])
        real = (t5_ids != 0).unsqueeze(2)
        mean = (sequence * real).sum(1) / real.sum(1)
        whole = self._whole_loss(self.pooled(pooled), labels, grounds) + self._whole_loss(
            self.mean(mean), labels, grounds
        )
        return whole + self._noun_loss(sequence, t5_ids, labels)


def train_text(work: Path, seconds: float) -> TextModels:
    """Train (or go on training) both encoders for a budget of CPU seconds."""
    torch.manual_seed(5)
    models = build_text_models()
    read_out = ReadOut(models.t5_tokenizer)
    all_parts = nn.ModuleList([models.clip, models.t5, read_out])
    optimizer = torch.optim.AdamW(all_parts.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=1e-2)
    path = work / "text.pt"
    state = load_checkpoint(path)
    if state:
        all_parts.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    budget = Budget(seconds, state["spent"] if state else 0.0)
    _run(models, read_out, all_parts, optimizer, path, budget, state["step"] if state else 0)
    for encoder in (models.clip, models.t5):
        encoder.requires_grad_(False).eval()
    return models


def _run(
    models: TextModels,
    read_out: ReadOut,
    all_parts: nn.ModuleList,
    optimizer: torch.optim.Optimizer,
    path: Path,
    budget: Budget,
    step: int,
) -> None:
    """The training loop, on endless fresh captions of training scenes."""
    rng = np.random.default_rng(2000 + step)
    due, recent = every(15.0), 3.0
    while budget.progress < 1:
        set_rates([optimizer], learning_rate(budget.progress, step, 0.4))
        scenes = [with_gaps(sample_scene(rng, "train", two=0.5), rng, 0.5) for _ in range(192)]
        clip_ids, t5_ids = models.tokens([caption(scene, rng) for scene in scenes], (32, 32, 32, 48)[step % 4])
        loss = read_out(*models.encode(clip_ids, t5_ids), t5_ids, scenes)
        loss.backward()
        nn.utils.clip_grad_norm_(all_parts.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent += 0.02 * (loss.item() - recent)
        step += 1
        if next(due) or budget.progress >= 1:
            state = {"model": all_parts.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(path, state | {"spent": budget.spent, "step": step})
            print(f"text {budget.spent:.0f}s step {step} loss {recent:.4f}", flush=True)
