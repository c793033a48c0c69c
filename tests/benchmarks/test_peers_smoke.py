"""The comparison with other servers runs to its end; what the figures are is not a test's business."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_server_that_can_be_had_is_measured(tmp_path: Path) -> None:
    page = tmp_path / "peers.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), "--jobs", "10", "--output", str(page)]
    subprocess.run(command, check=True, timeout=240)
    rows = [line.split(" | ") for line in page.read_text().splitlines() if " ms | " in line]
    names = [row[0].removeprefix("| ") for row in rows]
    assert names == ["floor (standard library)", "para-attn-server, 1 rank", "para-attn-server, 2 ranks"]
    for row in rows:
        figures = [float(re.sub(r"[^\d.]", "", cell)) for cell in row[1:]]
        assert len(figures) == 4
        assert all(figure >= 0 for figure in figures)
    assert "LitServe was not measured" in page.read_text()
