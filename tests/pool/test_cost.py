"""What is learned of the time that jobs take."""

from __future__ import annotations

import json
import time

import pytest

from para_attn_server.pool.cost import RUNS, SHAPES, Basis, CostModel, Estimate

SMALL = '{"height": 256, "num_inference_steps": 10, "width": 256}'
LARGE = '{"height": 512, "num_inference_steps": 20, "width": 512}'


def learned(*runs: tuple[str, float]) -> CostModel:
    """After these runs of one model on one rank."""
    costs = CostModel()
    for shape, seconds in runs:
        costs.learn("m", shape, 1, seconds)
    return costs


def test_nothing_is_known_before_the_first_success() -> None:
    costs = CostModel()
    assert costs.estimate("m", SMALL, 1) is None
    assert costs.error is None


def test_a_shape_takes_the_median_of_its_last_runs() -> None:
    costs = learned((SMALL, 90.0), *[(SMALL, 2.0)] * 3, (SMALL, 2.2))
    assert costs.estimate("m", SMALL, 1) == Estimate(2.0, Basis.SHAPE)
    for _ in range(RUNS):
        costs.learn("m", SMALL, 1, 5.0)
    assert costs.estimate("m", SMALL, 1) == Estimate(5.0, Basis.SHAPE)


def test_an_unknown_shape_is_scaled_from_the_nearest_one() -> None:
    middle = '{"height": 512, "num_inference_steps": 10, "width": 512}'
    costs = learned((SMALL, 3.0), (LARGE, 20.0))
    assert costs.estimate("m", middle, 1) == Estimate(10.0, Basis.SCALED)


def test_failing_that_the_mean_is_taken() -> None:
    costs = learned((SMALL, 2.0), (LARGE, 16.0), (LARGE, 16.0))
    assert costs.estimate("m", "{}", 1) == Estimate(9.0, Basis.MEAN)
    assert costs.estimate("m", SMALL, 4) == Estimate(9.0, Basis.MEAN)
    assert costs.estimate("other", SMALL, 1) is None


def test_an_estimate_follows_what_is_learned() -> None:
    costs = learned((SMALL, 2.0))
    assert costs.estimate("m", LARGE, 1) == Estimate(16.0, Basis.SCALED)
    costs.learn("m", LARGE, 1, 12.0)
    assert costs.estimate("m", LARGE, 1) == Estimate(12.0, Basis.SHAPE)


def test_what_was_learned_is_the_same_after_a_restart() -> None:
    costs = learned((SMALL, 2.0), (SMALL, 2.5), (LARGE, 16.0))
    again = CostModel(json.loads(json.dumps(costs.document())))
    assert again.document() == costs.document()
    assert again.estimate("m", SMALL, 1) == costs.estimate("m", SMALL, 1) == Estimate(2.25, Basis.SHAPE)


@pytest.mark.parametrize("entry", [None, ["m", 1], ["m", SMALL, 1, []], ["m", SMALL, 1, ["x"]]])
def test_what_cannot_be_read_is_left_out(entry: object) -> None:
    assert CostModel({"runs": [entry]}).shapes == 0


def test_only_so_many_shapes_are_kept_the_last_used_ones() -> None:
    costs = learned((SMALL, 2.0), *[(f'{{"width": {n}}}', 1.0) for n in range(SHAPES - 1)])
    costs.learn("m", SMALL, 1, 2.0)
    costs.learn("m", LARGE, 1, 2.0)
    assert costs.shapes == SHAPES
    assert costs.estimate("m", SMALL, 1) == Estimate(2.0, Basis.SHAPE)


def test_after_five_jobs_of_a_shape_the_error_is_below_a_tenth() -> None:
    """Steps that sleep, measured."""
    costs = CostModel()
    for n in range(30):
        steps = (4, 8)[n % 2]
        began = time.monotonic()
        for _ in range(steps):
            time.sleep(0.005)
        costs.learn("m", f'{{"num_inference_steps": {steps}}}', 1, time.monotonic() - began)
    assert costs.error is not None and costs.error < 0.1
