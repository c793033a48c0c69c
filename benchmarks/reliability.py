"""Injects faults into a server with the demo model on two CPU ranks, and measures what they cost.

    python benchmarks/reliability.py [--quick] [--seed N] [--output docs/reliability.md]

Prints one table with the targets beside the figures. Keep the machine quiet meanwhile.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from faults import canceled_jobs, dead_ranks, raising_ranks, stopped_ranks
from lab import Lab
from ledger import Audit
from server import RANKS, workplace
from table import Row, machine, markdown, told, verdict
from traffic import requests_while_healing

BUDGET = 2.0
"""Seconds that a step may take on the server whose ranks are stopped."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How often each fault is injected."""

    kills: int = 100
    stops: int = 20
    raises: int = 40
    cancels: int = 500
    kills_under_load: int = 30


QUICK = Scale(kills=4, stops=2, raises=3, cancels=10, kills_under_load=2)


def measured(lab: Lab, *figures: Callable[[Lab], list[Row]]) -> tuple[list[Row], Audit]:
    """One server's figures, and its books."""
    try:
        rows = [row for figure in figures for row in told(figure(lab))]
    except BaseException:
        lab.server.close()
        raise
    return rows, lab.close()


def all_figures(folder: Path, scale: Scale, seed: int) -> tuple[list[Row], Audit]:
    """Every row of the table."""
    rows, audit = measured(
        Lab(folder / "faults", seed),
        lambda lab: dead_ranks(lab, scale.kills),
        lambda lab: raising_ranks(lab, scale.raises),
        lambda lab: canceled_jobs(lab, scale.cancels),
        lambda lab: requests_while_healing(lab, scale.kills_under_load),
    )
    budget = {"step-timeout": f"{BUDGET:g}s", "min-step-timeout": f"{BUDGET:g}s"}
    of_hangs, audit_of_hangs = measured(
        Lab(folder / "hangs", seed, **budget), lambda lab: stopped_ranks(lab, scale.stops, BUDGET)
    )
    audit += audit_of_hangs
    return rows[:3] + of_hangs + rows[3:] + told(audit.rows()), audit


def report(rows: list[Row], command: str) -> str:
    """The document: where, when, how, the table, and how to read it."""
    return _DOCUMENT.format(
        where=f"{machine()}; {RANKS} ranks on the CPU over gloo",
        date=datetime.now(UTC).date(),
        verdict=verdict(rows),
        command=command,
        table=markdown(rows),
    )


_DOCUMENT = """\
# Reliability

The cost of faults, with the demo model on 64 x 64 pixels. Faults are injected into a real server, one at a time, at
random moments of running jobs, on random ranks. `make reliability` runs this command, which writes this page:

    {command}

Measured on {date}, on {where}; {verdict}.

{table}

- Detected: when the controller logs the death. Ready: when it logs that all ranks are set up again. If the log names
  another rank than the killed one, the measurement stops.
- A stopped rank is detected by missing steps, so the budget for a step is part of the time; it is set with
  `--step-timeout` and `--min-step-timeout`. By default a step may take ten times the job's longest so far, and at least
  a minute.
- The predictor raises the exception after a random step, while the other rank goes on into a collective. Times start
  when it is raised.
- Cancels: from 0 to 90 % of a job's time after `POST /generate`, answered when all ranks have left the job. The work
  wasted is the total time that the ranks spend in `predict` after the POST.
- While a group heals: all requests in flight between a kill and the group being ready. Polls are `GET` of
  `/server_status`, `/readyz` and `/schema`.
- Lost and doubled: the client's ledger of all jobs compared with the server's database and output folder after it has
  stopped. A job whose rank was killed or stopped must succeed, one whose rank has raised must fail, a canceled one may
  have ended before the cancel.
- The count is of samples; where it is below 100, p99 is the largest of them.

The effect of a fault at every other point of a job: [failure-matrix.md](failure-matrix.md). Thousands of jobs in a
row: [soak.md](soak.md).
"""


def main() -> int:
    """Measure, print, write; the exit code is 1 where a job was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples: within two minutes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and ranks")
    parser.add_argument("--output", type=Path, help="Markdown file to write the report to")
    parser.add_argument("--folder", type=Path, help="a new folder to keep logs, database and outputs in")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # by way of everything that stops processes
    with workplace(arguments.folder) as folder:
        rows, audit = all_figures(folder, QUICK if arguments.quick else Scale(), arguments.seed)
    command = f"python benchmarks/reliability.py{' --quick' * arguments.quick}"
    text = report(rows, command)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text)
    for complaint in audit.complaints:
        print(complaint, file=sys.stderr)
    return 1 if audit.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
