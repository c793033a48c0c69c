"""Run by `run_ranks`: what para_attn itself does on these ranks, called as its own README has it, against one process.

Usage: para_attn_on_ranks.py FLUX_FOLDER. Prints one line of JSON: the relative difference by name.
"""

from __future__ import annotations

import copy
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    FluxPipeline,
    HunyuanVideoTransformer3DModel,
    WanTransformer3DModel,
)

from para_attn_server.rank import para_attn_compat

PLANS: dict[str, dict[str, int]] = {
    "ulysses": {},
    "ring": {"max_ring_dim_size": 2},
    "batch": {"max_batch_dim_size": 2},
}


def main() -> None:
    """Compare, and print what rank zero found; all ranks find the same or this fails."""
    para_attn_compat.install()
    assert "para_attn" not in sys.modules, "nothing is imported for it"
    from para_attn import para_attn_interface

    assert "def ulysses_attn_func" in inspect.getsource(para_attn_interface), "its loader still gives its source"
    dist.init_process_group("gloo")
    folder = Path(sys.argv[1])
    found = {**flux(folder), **vae(folder), **wan_vae(), **transformers()}
    print(json.dumps(found))
    dist.destroy_process_group()


def mesh(**sizes: int) -> Any:
    """As para_attn makes it."""
    from para_attn.context_parallel import init_context_parallel_mesh

    return init_context_parallel_mesh("cpu", **sizes)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative L2."""
    return float((a - b).norm() / b.norm())


def load(folder: Path) -> Any:
    """A fresh pipeline."""
    pipe = FluxPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe: Any, **kwargs: Any) -> torch.Tensor:
    """Two pictures of one prompt, as latents."""
    arguments = {
        "height": 64,
        "width": 64,
        "num_inference_steps": 3,
        "max_sequence_length": 32,
        "output_type": "latent",
    }
    generator = torch.Generator().manual_seed(3)
    arguments |= {"generator": generator, "num_images_per_prompt": 2, **kwargs}
    latents: torch.Tensor = pipe("a large red circle", **arguments).images
    return latents


def flux(folder: Path) -> dict[str, float]:
    """`parallelize_pipe` with each plan; a pipeline of the same class that is not spread; a call without a generator;
    the first-block cache on top."""
    from para_attn.context_parallel.diffusers_adapters import parallelize_pipe
    from para_attn.first_block_cache.diffusers_adapters import apply_cache_on_pipe

    plain = load(folder)
    expected = draw(plain)
    found: dict[str, float] = {}
    for name, sizes in PLANS.items():
        pipe = load(folder)
        parallelize_pipe(pipe, mesh=mesh(**sizes))
        found[f"flux {name}"] = difference(draw(pipe), expected)
        found[f"flux {name}, one rank alone"] = difference(draw(plain), expected)
    if dist.get_rank() == 0:  # would wait for the other rank if its class did
        torch.manual_seed(1)
        draw(plain, generator=None)
    torch.manual_seed(dist.get_rank())
    unseeded = draw(pipe, generator=None)
    found["flux without a generator, ranks apart"] = apart(unseeded)
    for name, threshold in (("always", 1e9), ("never", 1e-9)):  # each with its own, though the class is one
        cached = load(folder)
        parallelize_pipe(cached, mesh=mesh())
        apply_cache_on_pipe(cached, residual_diff_threshold=threshold)
        found[f"flux with a cache that {name} hits"] = difference(draw(cached), expected)
    apply_cache_on_pipe(cached, residual_diff_threshold=1e9)
    found["flux with a cache that now hits"] = difference(draw(cached), expected)
    found["flux with a cache elsewhere"] = difference(draw(plain), expected)
    return found


def apart(tensor: torch.Tensor) -> float:
    """How far the ranks' tensors are from rank zero's."""
    first = tensor.clone()
    dist.broadcast(first, 0)
    return difference(tensor, first)


def vae(folder: Path) -> dict[str, float]:
    """`parallelize_vae`, on a group of all ranks and on one that begins at rank 1, against the tiled result."""
    from para_attn.parallel_vae.diffusers_adapters import parallelize_vae

    plain = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    plain.tile_sample_min_size, plain.tile_latent_min_size = 32, 4
    shared, last = copy.deepcopy(plain), copy.deepcopy(plain)
    plain.enable_tiling()
    latents = torch.randn(1, 8, 8, 12, generator=torch.Generator().manual_seed(1))
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    parallelize_vae(shared)
    parallelize_vae(last, mesh=dist.init_device_mesh("cpu", (1, 2), mesh_dim_names=("other", "vae"))["vae"])
    found = {}
    with torch.no_grad():
        for name, model in (("vae", shared), ("vae in a mesh", last)):
            found[f"{name} decode"] = difference(model.decode(latents).sample, plain.decode(latents).sample)
            found[f"{name} encode"] = difference(
                model.encode(pixels).latent_dist.mean, plain.encode(pixels).latent_dist.mean
            )
    return found


def wan_vae() -> dict[str, float]:
    """Wan 2.1's, on four tiles of which much is clamped."""
    from para_attn.parallel_vae.diffusers_adapters import parallelize_vae

    torch.manual_seed(0)
    plain = AutoencoderKLWan(base_dim=4, z_dim=4, num_res_blocks=1).eval()
    plain.decoder.conv_out.weight.data *= 20
    shared = parallelize_vae(copy.deepcopy(plain))
    plain.enable_tiling()
    latents = torch.randn(1, 4, 2, 40, 40, generator=torch.Generator().manual_seed(1))
    pixels = torch.randn(1, 3, 5, 320, 320, generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    with torch.no_grad():
        expected = plain.decode(latents).sample
        assert 0.1 < float((expected.abs() == 1).float().mean()) < 0.9
        return {
            "wan vae decode": difference(shared.decode(latents).sample, expected),
            "wan vae decode, a tuple": difference(shared.decode(latents, return_dict=False)[0], expected),
            "wan vae encode": difference(shared.encode(pixels).latent_dist.mean, plain.encode(pixels).latent_dist.mean),
        }


def transformers() -> dict[str, float]:
    """One call of HunyuanVideo's and Wan's transformers with each plan, and with the cache on one rank."""
    from para_attn.context_parallel.diffusers_adapters import parallelize_transformer
    from para_attn.first_block_cache import utils
    from para_attn.first_block_cache.diffusers_adapters import apply_cache_on_transformer

    found: dict[str, float] = {}
    each_token = {"timestep": torch.tensor([[0.0] * 4 + [500.0] * 4, [0.0] * 2 + [500.0] * 6])}
    make_wan, wan_arguments = wan()
    models = {"hunyuan": hunyuan(), "wan": wan(), "wan expand_timesteps": (make_wan, wan_arguments | each_token)}
    for name, (make, arguments) in models.items():
        with torch.no_grad():
            expected = make()(**arguments).sample
            for plan, sizes in PLANS.items():
                spread = parallelize_transformer(make(), mesh=mesh(**sizes))
                found[f"{name} {plan}"] = difference(spread(**arguments).sample, expected)
            cached = apply_cache_on_transformer(make())
            with utils.cache_context(utils.create_cache_context({"residual_diff_threshold": 1e-9})):
                found[f"{name} cached"] = difference(cached(**arguments).sample, expected)
    return found


def hunyuan() -> tuple[Callable[[], Any], dict[str, Any]]:
    """A tiny one, and two samples with masked prompts."""

    def make() -> Any:
        torch.manual_seed(0)
        return HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            patch_size=1,
            patch_size_t=1,
            guidance_embeds=True,
            text_embed_dim=16,
            pooled_projection_dim=8,
            rope_axes_dim=(4, 6, 6),
        ).eval()

    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(2, 8)
    mask[:, 6:] = 0
    return make, {
        "hidden_states": torch.randn(2, 4, 2, 4, 4, generator=generator),
        "timestep": torch.tensor([500.0, 500.0]),
        "encoder_hidden_states": torch.randn(2, 8, 16, generator=generator),
        "encoder_attention_mask": mask,
        "pooled_projections": torch.randn(2, 8, generator=generator),
        "guidance": torch.tensor([6000.0, 6000.0]),
    }


def wan() -> tuple[Callable[[], Any], dict[str, Any]]:
    """A tiny one, and two samples."""

    def make() -> Any:
        torch.manual_seed(0)
        return WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=16,
            freq_dim=16,
            ffn_dim=32,
            num_layers=2,
            cross_attn_norm=True,
            rope_max_seq_len=32,
        ).eval()

    generator = torch.Generator().manual_seed(1)
    return make, {
        "hidden_states": torch.randn(2, 4, 2, 4, 4, generator=generator),
        "timestep": torch.tensor([500.0, 500.0]),
        "encoder_hidden_states": torch.randn(2, 8, 16, generator=generator),
    }


if __name__ == "__main__":
    main()
