"""Runs a benchmark to its end, and reads the table that it prints and writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HEAD = ["figure (count)", "measured p50", "p99", "target", "met?"]


def figures(script: str, written: Path, *arguments: str, status: int = 0) -> dict[str, list[str]]:
    """The cells of each row after its first, by its first; the script must end with that exit status."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments, "--output", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=780)
    assert done.returncode == status, done.stdout + done.stderr
    assert written.read_text() in done.stdout
    lines = [line.split("|")[1:-1] for line in written.read_text().splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line] for line in lines]
    assert head == HEAD
    return {row[0]: row[1:] for row in rows}
