"""A short soak, with each kind of fault: nothing is lost, doubled or left, and every bound is judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from tables import figures

FAULTS = ("rank", "web worker", "gunicorn master", "forkserver", "controller", "restart")


@pytest.mark.slow
@pytest.mark.timeout(800)
def test_a_short_soak_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    written = tmp_path / "soak.md"
    measured = figures("soak.py", written, "--jobs", "160", "--seed", "1")
    assert all(f" x {fault}" in written.read_text() for fault in FAULTS)
    judged = {figure: row[3] for figure, row in measured.items() if row[3]}
    assert len(judged) >= 20 and set(judged.values()) == {"yes"}, judged
    assert sum(figure.startswith("memory: size") for figure in measured) == 3
