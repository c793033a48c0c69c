"""Puts the trained parts together as a FluxPipeline and writes it as a folder of float16 weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline
from torch import nn

from .text import TextModels, build_text_models
from .transformer import SHIFT, build_transformer
from .vae import build_vae, measure_latents


def _load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def load_text(work: Path) -> TextModels:
    """The trained text encoders of a work folder."""
    models = build_text_models()
    nn.ModuleList([models.clip, models.t5]).load_state_dict(
        {name: value for name, value in _load(work / "text.pt")["model"].items() if name[0] in "01"}
    )
    for encoder in (models.clip, models.t5):
        encoder.requires_grad_(False).eval()
    return models


def load_vae(work: Path) -> AutoencoderKL:
    """The trained autoencoder of a work folder, its latents measured."""
    vae = build_vae()
    vae.load_state_dict(_load(work / "vae.pt")["model"])
    return measure_latents(vae.requires_grad_(False).eval())


def assemble(work: Path) -> FluxPipeline:
    """The pipeline made of the newest checkpoint of every part; the transformer's averaged weights are used."""
    text = load_text(work)
    transformer = build_transformer()
    transformer.load_state_dict(_load(work / "transformer.pt")["average"])
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT, use_dynamic_shifting=False),
        vae=load_vae(work).to(memory_format=torch.contiguous_format),
        text_encoder=text.clip,
        tokenizer=text.clip_tokenizer,
        text_encoder_2=text.t5,
        tokenizer_2=text.t5_tokenizer,
        transformer=transformer.eval(),
    )


def export(work: Path, out: Path) -> None:
    """Write the pipeline beside the target, then swap the folders, so that a reader never sees half of one."""
    fresh, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    assemble(work).to(torch.float16).save_pretrained(fresh, safe_serialization=True)
    for file in fresh.rglob("*.safetensors"):
        file.chmod(0o644)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)
