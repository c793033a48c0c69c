"""The quick reliability run injects every fault, loses nothing, and its table has every figure."""

from __future__ import annotations

from pathlib import Path

import pytest
from tables import figures

WITHIN = {
    "SIGKILL of a rank: until it is detected": "",
    "SIGKILL of a rank: until the group is ready": "",
    "SIGSTOP of a rank: until the hang is reported": "",
    "SIGSTOP of a rank: another rank named": "0",
    "SIGSTOP of a rank: from the report until the group is ready": "",
    "exception on one rank: another cause or rank reported": "0",
    "exception on one rank: until the group is ready": "",
    "cancel: POST to answer": "",
    "cancel: steps that end after the POST": "",
    "cancel: left by the ranks at different steps": "0",
    "requests while a group heals": "0",
    "... without a response": "0",
    "... until answered": "",
    "jobs lost": "0",
    "jobs doubled": "0",
    "outputs that are not as reported": "0",
}
"""Figures with a target; where it has nothing to do with time, what must come out on any machine."""
WITHOUT = (
    "SIGKILL of a rank: until its restarted job",
    "exception on one rank: until its client gets the error",
    "cancel: work wasted",
    "... jobs accepted meanwhile",
)


@pytest.mark.slow
@pytest.mark.timeout(800)
def test_the_quick_reliability_run_measures_every_figure_and_loses_nothing(tmp_path: Path) -> None:
    measured = figures("reliability.py", tmp_path / "reliability.md", "--quick")
    assert len(measured) == len(WITHIN) + len(WITHOUT)
    for name, value in WITHIN.items():
        (row,) = [row for figure, row in measured.items() if figure.startswith(name)]
        assert row[3] in ("yes", "missed"), (name, row)
        assert not value or row[0] == value, (name, row)
    for name in WITHOUT:
        (row,) = [row for figure, row in measured.items() if figure.startswith(name)]
        assert row[0] and row[2:] == ["", ""]
