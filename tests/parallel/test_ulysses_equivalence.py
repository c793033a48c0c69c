"""The same seed gives the same picture on 1, 2 and 4 real ranks; another seed gives another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from draw_in_worlds import SEEDS
from PIL import Image
from pipelines import save_tiny_flux
from ranks import free_port, run_ranks

from para_attn_predictors.demo import WEIGHTS

WORLDS = (4, 2, 1)
PROGRAM = Path(__file__).parents[1] / "support" / "draw_in_worlds.py"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders with the latents and pictures that all worlds made, by kind of weights."""
    weights = {"random": save_tiny_flux(tmp_path_factory.mktemp("weights")), "trained": WEIGHTS}
    folders = {name: tmp_path_factory.mktemp(name) for name in weights}
    models = [
        argument
        for name, folder in folders.items()
        for argument in (folder, weights[name], ",".join(str(free_port()) for _ in WORLDS))
    ]
    run_ranks(max(WORLDS), PROGRAM, "para_attn_predictors.demo:DemoPredictor", *models)
    return folders


@pytest.fixture(params=["random", "trained"])
def drawn(request: pytest.FixtureRequest, outputs: dict[str, Path]) -> Path:
    """The folder of one kind of weights."""
    return outputs[request.param]


def latents(folder: Path, world: int, rank: int, seed: int) -> torch.Tensor:
    return torch.load(folder / f"latents_{world}_{rank}_{seed}.pt")


def picture(folder: Path, world: int, seed: int) -> np.ndarray:
    return np.asarray(Image.open(folder / f"picture_{world}_0_{seed}.png")).astype(int)


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_latents_are_equal_to_one_rank_s(drawn: Path) -> None:
    for world in WORLDS:
        for seed in SEEDS:
            assert relative_difference(latents(drawn, world, 0, seed), latents(drawn, 1, 0, seed)) < 1e-5


def test_all_ranks_hold_the_same_bits(drawn: Path) -> None:
    for world in WORLDS:
        for rank in range(world):
            for seed in SEEDS:
                assert torch.equal(latents(drawn, world, rank, seed), latents(drawn, world, 0, seed))


def test_pictures_are_equal_to_one_rank_s(drawn: Path) -> None:
    for world in WORLDS:
        for seed in SEEDS:
            difference = np.abs(picture(drawn, world, seed) - picture(drawn, 1, seed))
            assert difference.max() <= 1, "more than a rounding step of one of 256 levels"


def test_seeds_matter(drawn: Path) -> None:
    assert relative_difference(latents(drawn, 1, 0, SEEDS[0]), latents(drawn, 1, 0, SEEDS[1])) > 0.01
    assert np.abs(picture(drawn, 1, SEEDS[0]) - picture(drawn, 1, SEEDS[1])).max() > 1


def test_only_rank_zero_writes(drawn: Path) -> None:
    written = {path.name for path in drawn.glob("picture_*.png")}
    assert written == {f"picture_{world}_0_{seed}.png" for world in WORLDS for seed in SEEDS}
