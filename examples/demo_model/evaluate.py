"""Scores a pipeline on held-out prompts and prints a markdown table: `python -m examples.demo_model.evaluate --help`.

Every prompt counts once, with one picture from one fixed seed. Two rows need no transformer: the scorer on true
renders (its own error), and pictures sent through the autoencoder and back (the model's ceiling).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline

from .captions import caption, plain_caption
from .drawing import draw
from .scenes import DEFAULT_BACKGROUND, Scene, resolved_places, sample_scene
from .score import Found, Reading, read_picture

MEASURES = ("background", "color", "shape", "place", "size", "count", "all")
SEEDS = {"dev": 11, "test": 16_256, "train": 12}
Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """One prompt of the evaluation, the scene it describes, and the seed of its picture."""

    scene: Scene
    prompt: str
    seed: int


def build_cases(split: str, shapes: int, count: int) -> list[Case]:
    """Fixed random prompts of a split; every other one in the plain phrasing, the rest in random ones."""
    rng = np.random.default_rng([SEEDS[split], shapes])
    cases = []
    for number in range(count):
        scene = sample_scene(rng, split, two=float(shapes == 2))
        prompt = caption(scene, rng) if number % 2 else plain_caption(scene)
        cases.append(Case(scene, prompt, SEEDS[split] * 100_000 + shapes * 10_000 + number))
    return cases


def _item_marks(scene: Scene, order: tuple[Found, ...]) -> dict[str, bool]:
    """Which attributes are right for all shapes of a scene, given which region stands for which shape."""
    rows = list(zip(scene.items, resolved_places(scene), order, strict=True))
    return {
        "color": all(item.colour == found.colour for item, _, found in rows),
        "shape": all(item.shape == found.shape for item, _, found in rows),
        "place": all(place == found.place for _, place, found in rows),
        "size": all(item.size in (None, found.size) for item, _, found in rows),
    }


def marks(scene: Scene, reading: Reading) -> dict[str, bool]:
    """What is right in a picture; with a shape missing, nothing about the shapes is right.

    Of two regions, the assignment to the two shapes that gets most right is taken. Extra regions fail "count".
    """
    wanted = len(scene.items)
    result = dict.fromkeys(MEASURES, False)
    result["background"] = reading.background == (scene.background or DEFAULT_BACKGROUND)
    result["count"] = len(reading.found) == wanted
    if len(reading.found) >= wanted:
        options = [_item_marks(scene, order) for order in permutations(reading.found[:wanted])]
        result.update(max(options, key=lambda option: sum(option.values())))
    result["all"] = all(result[name] for name in MEASURES if name != "all")
    return result


def score(cases: list[Case], images: list[Array]) -> dict[str, float]:
    """The share of cases for which each attribute is right; size counts only where a prompt states one."""
    results = [marks(case.scene, read_picture(image)) for case, image in zip(cases, images, strict=True)]
    sized = [r for r, c in zip(results, cases, strict=True) if any(item.size for item in c.scene.items)]
    shares = {name: float(np.mean([result[name] for result in results])) for name in MEASURES}
    return shares | {"size": float(np.mean([result["size"] for result in sized]))}


def true_renders(cases: list[Case], size: int) -> list[Array]:
    """The pictures as the drawing code paints them, rounded to 8 bits."""
    drawn = [draw(case.scene, np.random.default_rng(case.seed), size, size) for case in cases]
    return [np.round(image * 255) / 255 for image in drawn]


@torch.no_grad()
def round_trip(pipe: FluxPipeline, cases: list[Case], size: int) -> list[Array]:
    """True renders sent through the autoencoder and back."""
    images = []
    for image in true_renders(cases, size):
        tensor = torch.from_numpy(image).float().permute(2, 0, 1)[None] * 2 - 1
        output = pipe.vae.decode(pipe.vae.encode(tensor).latent_dist.mean).sample
        images.append(_eight_bit(output[0].permute(1, 2, 0).numpy() / 2 + 0.5))
    return images


def _eight_bit(image: Array) -> Array:
    return np.round(np.clip(image, 0, 1) * 255) / 255


def generate(pipe: FluxPipeline, cases: list[Case], size: int, steps: int, batch: int = 8) -> list[Array]:
    """One picture for each case."""
    images: list[Array] = []
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        output = pipe(
            prompt=[case.prompt for case in part],
            height=size,
            width=size,
            num_inference_steps=steps,
            max_sequence_length=32,
            generator=[torch.Generator().manual_seed(case.seed) for case in part],
            output_type="np",
        )
        images.extend(_eight_bit(image) for image in output.images)
    return images


def table(pipe: FluxPipeline, options: argparse.Namespace) -> list[str]:
    """The lines of the markdown table; printed as they come, since the whole takes minutes."""
    lines = ["| what | shapes | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 2) + "|"]
    print("\n".join(lines), flush=True)
    sources: list[tuple[str, Callable[[list[Case]], list[Array]]]] = []
    for size in options.sizes:
        sources.append((f"scorer on true renders, {size} px", lambda c, s=size: true_renders(c, s)))
        sources.append((f"VAE round trip (ceiling), {size} px", lambda c, s=size: round_trip(pipe, c, s)))
        sources.append((f"**generated, {size} px**", lambda c, s=size: generate(pipe, c, s, options.steps)))
    for title, source in sources if not options.generated_only else sources[2::3]:
        for shapes in (1, 2):
            cases = build_cases(options.split, shapes, options.count)
            shares = score(cases, source(cases))
            row = " | ".join(f"{shares[name]:.3f}" for name in MEASURES)
            lines.append(f"| {title} | {('one', 'two')[shapes - 1]} | {row} |")
            print(lines[-1], flush=True)
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, print the table."""
    parser = argparse.ArgumentParser(description="Score a pipeline folder on held-out prompts.")
    parser.add_argument("--model", type=Path, default=Path("predictors/demo_weights"), help="pipeline folder")
    parser.add_argument("--split", choices=SEEDS, default="test", help="choose on dev, report on test")
    parser.add_argument("--count", type=int, default=300, help="prompts for each row")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--generated-only", action="store_true", help="leave out the scorer and the autoencoder")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    pipe = FluxPipeline.from_pretrained(options.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    print(f"{options.model.name}, split {options.split}, {options.count} prompts a row, {options.steps} steps\n")
    table(pipe, options)


if __name__ == "__main__":
    main()
