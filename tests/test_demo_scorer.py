"""The demo model's scorer on true renders, and the split that keeps held-out combinations out of training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from demo_model.captions import all_words, caption, plain_caption, with_gaps
from demo_model.drawing import draw
from demo_model.evaluate import MEASURES, build_cases, marks, score, true_renders
from demo_model.scenes import (
    COLOURS,
    PLACES,
    SHAPES,
    Item,
    Scene,
    is_withheld,
    random_scene,
    resolved_places,
    sample_scene,
    split_of,
)
from demo_model.score import CLEAR_MATCH, read_picture

EXAMPLE = Scene((Item("circle", "red", "left", "large"),), "blue")


@pytest.mark.parametrize("shapes", [1, 2])
@pytest.mark.parametrize("size", [64, 128, pytest.param(256, marks=pytest.mark.slow)])
def test_scorer_reads_true_renders(size: int, shapes: int) -> None:
    """At least 99 % of every attribute is read rightly from anti-aliased, jittered renders."""
    cases = build_cases("dev", shapes, 150)
    shares = score(cases, true_renders(cases, size))
    assert {name: shares[name] for name in MEASURES if name != "all" and shares[name] < 0.99} == {}


@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64), (96, 160)])
def test_scorer_reads_pictures_that_are_not_square(height: int, width: int) -> None:
    """Places are read relative to the picture's own sides."""
    rng = np.random.default_rng(3)
    scenes = [random_scene(rng) for _ in range(40)]
    read = [marks(scene, read_picture(draw(scene, rng, height, width))) for scene in scenes]
    assert np.mean([result["place"] and result["shape"] for result in read]) >= 0.97


def test_scorer_tells_wrong_from_right() -> None:
    """A picture of another scene gets marks only for what it shares with the prompt."""
    other = Scene((Item("star", "green", "right", "small"),), "blue")
    reading = read_picture(draw(other, np.random.default_rng(0), 128, 128))
    result = marks(EXAMPLE, reading)
    assert result["background"] and result["count"]
    assert not any(result[name] for name in ("color", "shape", "place", "size", "all"))


def test_scorer_finds_nothing_in_a_blank_picture() -> None:
    """An empty picture has a background and no shapes, and counts as wrong."""
    blank = np.full((64, 64, 3), np.array(COLOURS["blue"]) / 255)
    assert read_picture(blank).found == ()
    assert not marks(EXAMPLE, read_picture(blank))["shape"]


def test_scorer_calls_a_smear_unclear() -> None:
    """A region that looks like none of the shapes is given no shape's name."""
    picture = np.full((128, 128, 3), 0.97)
    picture[60:68, 10:118] = np.array(COLOURS["red"]) / 255
    (found,) = read_picture(picture).found
    assert found.shape == "unclear" and found.match < CLEAR_MATCH and found.colour == "red"


def test_an_extra_shape_fails_the_count() -> None:
    """One shape too many is not right, whatever the others are."""
    two = Scene((EXAMPLE.items[0], Item("square", "green", "right", "small")), "blue")
    result = marks(EXAMPLE, read_picture(draw(two, np.random.default_rng(0), 128, 128)))
    assert not result["count"] and not result["all"]


def test_no_held_out_combination_is_sampled_for_training() -> None:
    """Training scenes never hold a withheld combination, as single shapes or within a pair."""
    rng = np.random.default_rng(0)
    for _ in range(4000):
        scene = sample_scene(rng, "train")
        for item, place in zip(scene.items, resolved_places(scene), strict=True):
            assert not is_withheld(item.shape, item.colour, place)


def test_one_place_of_five_is_withheld_for_every_shape_and_colour() -> None:
    """Each shape is seen in each colour, at four places; the fifth is what the evaluation asks for."""
    for shape in SHAPES:
        for colour in COLOURS:
            assert sum(is_withheld(shape, colour, place) for place in PLACES) == 1
    for place in PLACES:
        assert sum(is_withheld(shape, colour, place) for shape in SHAPES for colour in COLOURS) >= 6


def test_dev_and_test_share_no_scene() -> None:
    """The two evaluation splits are disjoint, and both hold only held-out scenes."""
    dev = {case.scene for shapes in (1, 2) for case in build_cases("dev", shapes, 300)}
    test = {case.scene for shapes in (1, 2) for case in build_cases("test", shapes, 300)}
    assert not dev & test
    assert {split_of(scene) for scene in dev} == {"dev"} and {split_of(scene) for scene in test} == {"test"}


def test_splits_have_sensible_sizes() -> None:
    """Most scenes are for training, and the rest is shared out about evenly."""
    rng = np.random.default_rng(1)
    counts = Counter(split_of(random_scene(rng)) for _ in range(3000))
    assert counts["train"] > 1500 and min(counts["dev"], counts["test"]) > 250


def test_captions_say_the_scene() -> None:
    """The plain caption reads as promised; every caption names the shapes; gaps leave a part out."""
    assert plain_caption(EXAMPLE) == "a large red circle on the left on a blue background"
    rng = np.random.default_rng(2)
    for _ in range(300):
        scene = random_scene(rng)
        text = caption(scene, rng).lower()
        assert all(item.shape in text and item.colour in text for item in scene.items)
    gap = with_gaps(EXAMPLE, rng, 1.0).items[0]
    assert (gap.colour == "") != (gap.shape == "shape")
    assert {"circle", "purple", "centre", "center", "background"} <= set(all_words())


def test_drawing_varies_with_the_seed_alone() -> None:
    """The same seed draws the same picture; another seed draws a visibly different one."""
    one, same, other = (draw(EXAMPLE, np.random.default_rng(seed), 64, 64) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert np.abs(one - other).mean() > 0.005
