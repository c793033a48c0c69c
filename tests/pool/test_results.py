"""What the ranks of a run report together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import PHASES, Output, Result
from para_attn_server.core.wire.ranks import Failed, Finished
from para_attn_server.pool.run import JobRun

OUTPUT = Output("/out/a.png", "image/png", 3, "ab")


def finished(rank: int, peak: int | None = None, **applied: Any) -> Finished:
    outputs = () if rank else (OUTPUT,)
    return Finished(1, rank, 3, 1.0, outputs, True, applied, {"denoise": 2.0 + rank}, peak)


def run_of(*messages: Finished | Failed) -> JobRun:
    """A run of which the ranks have said this, the last first."""
    run = JobRun("j", 1, 0.0, Path("/out/a.png"), {})
    for message in reversed(messages):
        run.note_result(message)
    return run


def test_ranks_that_agree_make_one_result() -> None:
    done = run_of(finished(0, 5, seed=1, plan={"ulysses": 2}), finished(1, 7, seed=1, plan={"ulysses": 2})).outcome()
    assert isinstance(done, Result)
    assert (done.outputs, done.applied, done.peak_memory) == ((OUTPUT,), {"seed": 1, "plan": {"ulysses": 2}}, 7)
    assert done.timings == {**dict.fromkeys(PHASES), "denoise": 2.0}


def test_nothing_need_be_known() -> None:
    done = run_of(replace(finished(0), timings={}), finished(1)).outcome()
    assert done == Result((OUTPUT,), None, dict.fromkeys(PHASES), None)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"seed": 2}, "rank 1 used seed 2, and rank 0 seed 1"),
        ({}, "rank 1 used no seed, and rank 0 seed 1"),
        ({"seed": 1, "lora": None}, "rank 1 used lora null, and rank 0 no lora"),
        ({"seed": "x" * 99}, f'rank 1 used seed "{"x" * 59}..., and rank 0 seed 1'),
    ],
)
def test_ranks_that_have_used_other_values_make_no_output(theirs: dict[str, Any], said: str) -> None:
    run = run_of(finished(0, seed=1), finished(1, **theirs))
    assert run.outcome() == JobError("applied_mismatch", said, 1, hint="predict() must do the same on every rank")
    assert run.result is None


def test_the_output_counts_though_another_rank_fails_afterward() -> None:
    failed = Failed(1, 1, 3, JobError("ValueError", "no", 1))
    assert isinstance(run_of(finished(0, seed=1), failed).outcome(), Result)
