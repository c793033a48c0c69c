"""The benchmark runs to its end and its table has every figure; what the figures are is not a test's business."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from tables import figures as table_of

BOTH = ("5 x 20 ms of sleep", "demo model")
OF_BOTH = (
    "added per job",
    "POST to first line of predict on the last rank",
    "POST to end of the first step",
    "time per job, server",
    "time per job, bare torchrun",
    "server's time per job over bare torchrun's",
    "gap between queued jobs",
    "CPU per job in controller and web",
    "cancel: POST to answer",
    "cancel: end of the last step to answer",
    "cancel: steps that end after the POST",
)
ONCE = (
    "step control per step, 2 ranks, no jitter",
    "step control per step, 2 ranks, up to 4 ms of jitter",
    "200 status polls/s",
    "status polls/s that slow a job by 5 %",
    "memory (PSS): controller, gunicorn master, web worker",
    "memory (PSS): forkserver",
    "memory (PSS): ranks",
    "idle CPU",
    "start to jobs being accepted, a fresh state directory",
    "start to a group being ready, a fresh state directory",
    "start to jobs being accepted, a restart, schema known",
    "start to a group being ready, a restart, schema known",
)
TARGETS = 19


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_quick_benchmark_measures_every_figure(tmp_path: Path) -> None:
    figures = table_of("overhead.py", tmp_path / "benchmarks.md", "--quick")
    for name in OF_BOTH:
        for predictor in BOTH:
            assert any(figure.startswith(name) and predictor in figure for figure in figures), (name, predictor)
    for name in ONCE:
        assert any(figure.startswith(name) for figure in figures), name
    assert all(_finite(row[0]) and (not row[1] or _finite(row[1])) for row in figures.values()), figures
    judged = [row for row in figures.values() if row[2]]
    assert len(judged) == TARGETS
    assert all(row[3] in ("yes", "missed") for row in judged)


def _finite(cell: str) -> bool:
    number = re.match(r"-?[\d.]+", cell)
    return number is not None and math.isfinite(float(number[0]))
