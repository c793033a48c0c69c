"""The embedded model draws what the prompt says: its pictures are read by the scorer of examples/demo_model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from demo_model.evaluate import Case, build_cases, marks, score
from demo_model.scenes import Item, Scene
from demo_model.score import read_picture
from ranks import world_of_one

from para_attn_predictors.demo import WEIGHTS, DemoPredictor

LEAST = {
    1: {"background": 0.9, "colour": 0.9, "place": 0.9, "shape": 0.6},
    2: {"background": 0.9, "colour": 0.85, "place": 0.85, "shape": 0.2},
}
"""By number of shapes: shares of held-out prompts below which the model has got worse. They are the measured figures of
docs/demo-model.md less what 30 prompts can be off by chance; the aim for shape, 0.85, is not reached."""

SPOKEN = {
    "a large red circle on the left on a blue background": Scene((Item("circle", "red", "left", "large"),), "blue"),
    "a large yellow star at the top on a black background": Scene((Item("star", "yellow", "top", "large"),), "black"),
    "a large green square on the right on a white background": Scene(
        (Item("square", "green", "right", "large"),), "white"
    ),
}


@pytest.fixture(scope="module")
def predictor() -> Iterator[DemoPredictor]:
    """The demo predictor as one rank with one thread: a model this small is slower with more on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with world_of_one():
            loaded = DemoPredictor()
            loaded.setup()
            yield loaded
    finally:
        torch.set_num_threads(threads)


def drawn(predictor: DemoPredictor, prompt: str, seed: int, **sizes: int) -> np.ndarray:
    """The picture, height x width x 3, values from 0 to 1."""
    return np.asarray(predictor.predict(prompt, seed=seed, **sizes).images[0]) / 255


@pytest.mark.parametrize("prompt", SPOKEN)
def test_a_plain_prompt_is_drawn_in_every_respect(predictor: DemoPredictor, prompt: str) -> None:
    reading = read_picture(drawn(predictor, prompt, seed=1))
    assert marks(SPOKEN[prompt], reading)["all"], reading


@pytest.mark.parametrize("shapes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_held_out_prompts_are_mostly_right(predictor: DemoPredictor, shapes: int) -> None:
    cases: list[Case] = build_cases("dev", shapes, 30)
    shares = score(cases, [drawn(predictor, case.prompt, case.seed) for case in cases])
    assert {name: share for name, share in shares.items() if share < LEAST[shapes].get(name, 0)} == {}


@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 256), (64, 128)])
def test_other_sizes_show_the_right_colours(predictor: DemoPredictor, height: int, width: int) -> None:
    prompt = "a large red circle in the centre on a blue background"
    picture = drawn(predictor, prompt, seed=1, height=height, width=width)
    assert picture.shape == (height, width, 3)
    reading = read_picture(picture)
    assert reading.background == "blue"
    assert reading.found and reading.found[0].colour == "red"


def test_seeds_give_different_pictures_of_the_same_thing(predictor: DemoPredictor) -> None:
    prompt = next(iter(SPOKEN))
    first, second = (drawn(predictor, prompt, seed) for seed in (1, 2))
    assert np.abs(first - second).max() > 0.1


def test_the_weights_are_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 8 * 2**20
