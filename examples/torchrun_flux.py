"""The pipeline that the server's `demo` and `flux` run, as a plain torchrun script: what the server is compared with.

    torchrun --nproc-per-node 2 examples/torchrun_flux.py --prompt "a large red circle on a blue background"

One model load, then --repeat pictures of the same seed; rank zero prints the seconds that each one took, from the
prompt to the file.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.distributed as dist
from diffusers import FluxPipeline

from para_attn_predictors.demo import TEXT_TOKENS, WEIGHTS
from para_attn_server.parallel import parallelize, rank_device


def parsed_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", default=str(WEIGHTS), help="local folder or hub repo id; default: the demo's")
    parser.add_argument("--prompt", default="a large red circle on the left on a blue background")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels, a multiple of 16 x ranks")
    parser.add_argument("--max-sequence-length", type=int, default=TEXT_TOKENS, help="tokens of text, 512 for FLUX.1")
    parser.add_argument("--output", default="torchrun.png")
    parser.add_argument("--repeat", type=int, default=1, help="how often to draw the picture")
    return parser.parse_args()


def load(model_path: str) -> FluxPipeline:
    """The pipeline on this rank's device, spread over all ranks."""
    dist.init_process_group()
    device = rank_device()
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    pipe = FluxPipeline.from_pretrained(model_path, dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    parallelize(pipe)
    return pipe


def draw(pipe: FluxPipeline, arguments: argparse.Namespace) -> float:
    """Draw one picture, write it on rank zero; returns the seconds it took."""
    rank_zero = dist.get_rank() == 0
    started = time.perf_counter()
    output = pipe(
        arguments.prompt,
        height=arguments.size,
        width=arguments.size,
        num_inference_steps=arguments.steps,
        max_sequence_length=arguments.max_sequence_length,
        generator=torch.Generator().manual_seed(arguments.seed),
        output_type="pil" if rank_zero else "latent",
    )
    if rank_zero:
        output.images[0].save(arguments.output)
    return time.perf_counter() - started


def main() -> None:
    """Load once, draw as often as asked."""
    arguments = parsed_arguments()
    pipe = load(arguments.model_path)
    for run in range(1, arguments.repeat + 1):
        seconds = draw(pipe, arguments)
        if dist.get_rank() == 0:
            print(f"run {run}: {seconds:.4f} s", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
