"""Run by `run_ranks`: draws the same pictures in a world of all ranks, then of half of them, and so on down to one.

Usage: draw_in_worlds.py PREDICTOR (OUTPUT_FOLDER MODEL_PATH PORT,PORT,...)... where PREDICTOR is module:Class, with
one port for each world. Each rank writes its latents, rank zero of each world its pictures.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from para_attn_server.core.predictor import Predictor

PROMPT = "a large red circle on the left on a blue background"
SEEDS = (1, 2)
RANK, ALL_RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
CALL = {"prompt": PROMPT, "height": 64, "width": 80, "num_inference_steps": 4}


def main() -> None:
    """Draw with every model in every world that this rank belongs to."""
    module, _, name = sys.argv[1].partition(":")
    predictor_class = getattr(importlib.import_module(module), name)
    for output, model_path, ports in zip(sys.argv[2::3], sys.argv[3::3], sys.argv[4::3], strict=True):
        draw_in_worlds(lambda path=model_path: predictor_class(path), Path(output), ports.split(","))


def draw_in_worlds(make: Callable[[], Predictor], output: Path, ports: list[str]) -> None:
    """Draw with a fresh predictor in a world of all ranks, of half of them, of a quarter ..., one per port."""
    for halvings, port in enumerate(ports):
        world = ALL_RANKS >> halvings
        if world > RANK:
            os.environ.update(WORLD_SIZE=str(world), MASTER_PORT=port)
            draw(make(), output, world)


def draw(predictor: Predictor, output: Path, world: int) -> None:
    """Set the predictor up in this world, draw with every seed and leave the world again."""
    predictor.setup()
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        latents = predictor.pipe(**CALL, max_sequence_length=32, generator=generator, output_type="latent").images
        torch.save(latents, output / f"latents_{world}_{RANK}_{seed}.pt")
        drawn = predictor.predict(**CALL, seed=seed)
        if RANK == 0:
            drawn.images[0].save(output / f"picture_{world}_{RANK}_{seed}.png")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
