"""Trains the demo model from nothing and exports it: `python -m examples.demo_model.train --help`.

Stages run in order; each goes on from its checkpoint in the work folder, and a finished one is skipped. Budgets are
CPU seconds of this process, so pausing it costs nothing. Raise --minutes to train a finished model further.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from .export import export, load_text, load_vae
from .text import train_text
from .transformer import train_transformer
from .vae import train_vae

SHARES = {"vae": 0.24, "text": 0.06, "transformer": 0.70}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the embedded demo model on drawn shapes.")
    parser.add_argument("--minutes", type=float, default=110.0, help="CPU minutes for all stages together")
    parser.add_argument("--threads", type=int, default=1, help="threads for torch")
    parser.add_argument("--work-dir", type=Path, default=Path("demo_training"), help="folder for checkpoints")
    parser.add_argument("--out", type=Path, help="folder to export the pipeline to when done")
    parser.add_argument("--stages", nargs="+", choices=[*SHARES, "export"], default=[*SHARES, "export"])
    parser.add_argument("--pool-scale", type=float, default=1.0, help="makes the pools of examples smaller or larger")
    return parser.parse_args(arguments)


def run_stage(stage: str, options: argparse.Namespace) -> None:
    """Run one stage to the end of its budget."""
    seconds = 60.0 * options.minutes * SHARES.get(stage, 0.0)
    if stage == "vae":
        train_vae(options.work_dir, seconds)
    elif stage == "text":
        train_text(options.work_dir, seconds)
    elif stage == "transformer":
        vae, text = load_vae(options.work_dir), load_text(options.work_dir)
        train_transformer(options.work_dir, seconds, vae, text, options.pool_scale)
    elif options.out:
        export(options.work_dir, options.out)


def main(arguments: list[str] | None = None) -> None:
    """Run the chosen stages in order."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    (options.work_dir / "pid").write_text(f"{os.getpid()}\n")
    for stage in options.stages:
        run_stage(stage, options)


if __name__ == "__main__":
    main()
