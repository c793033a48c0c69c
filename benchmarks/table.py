"""The table of figures: rows in, Markdown out."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version

from measure import Spread


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. unit: `ms`, `%` ...; target, target_p99: at most that, None where there is none; p99 may be None."""

    figure: str
    unit: str
    p50: float
    count: int
    p99: float | None = None
    target: float | None = None
    target_p99: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether every target is; None without one."""
        bounds = ((self.p50, self.target), (self.p99, self.target_p99))
        judged = [value is not None and value <= bound for value, bound in bounds if bound is not None]
        return all(judged) if judged else None

    def cells(self) -> list[str]:
        """As shown."""
        targets = [] if self.target is None else [self._shown(self.target)]
        targets += [] if self.target_p99 is None else [f"p99 {self._shown(self.target_p99)}"]
        met = {None: "", True: "yes", False: "missed"}[self.met]
        p99 = "" if self.p99 is None else self._shown(self.p99)
        return [f"{self.figure} ({self.count})", self._shown(self.p50), p99, ", ".join(targets), met]

    def _shown(self, value: float) -> str:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        text = f"{value:.{digits}f}"
        return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {self.unit}".strip()


def row_of(figure: str, unit: str, measured: Spread, target: float | None = None, p99: float | None = None) -> Row:
    """A row of samples; p99: the target for that."""
    return Row(figure, unit, measured.p50, measured.count, measured.p99, target, p99)


def markdown(rows: list[Row]) -> str:
    """The table."""
    head = ["figure (count)", "measured p50", "p99", "target", "met?"]
    cells = [head, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def verdict(rows: list[Row]) -> str:
    """How many targets are missed, in words."""
    missed = sum(row.met is False for row in rows)
    return f"{missed} of the targets are missed" if missed else "all targets are met"


def machine() -> str:
    """Where it was measured, in words."""
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {version('torch')}, "
        f"diffusers {version('diffusers')}"
    )


def told(rows: list[Row]) -> list[Row]:
    """Show progress."""
    for row in rows:
        print(" | ".join(row.cells()), file=sys.stderr, flush=True)
    return rows
