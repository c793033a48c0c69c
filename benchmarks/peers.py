"""Measures what servers take beside the worker's own time, on the same work, in turn: a floor from the standard
library, LitServe where it is installed, and this server with one and with two ranks.

    python benchmarks/peers.py [--litserve PYTHON] [--jobs N] [--output docs/peers.md]

The work is five steps of 20 ms of sleep. Jobs go one after the other over one kept-alive connection. Keep the machine
quiet meanwhile. PYTHON: the interpreter of an environment that has litserve (`make bench-peers` makes one).
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from contestants import Contestant, Floor, LitServe, Ours
from measure import Watch
from table import machine

MS = 1000.0
BATCH = 10
"""Jobs that are queued at once where the gap between them is measured."""


@dataclass(slots=True)
class Samples:
    """Milliseconds of one contestant."""

    outside: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    cpu: float = 0.0


def measure(contestants: list[Contestant], jobs: int) -> dict[str, Samples]:
    """All figures of all contestants, who take turns job by job and batch by batch."""
    numbers = itertools.count(1)
    found = {contestant.name: Samples() for contestant in contestants}
    for contestant in contestants:
        for _ in range(3):
            contestant.job(next(numbers))
        contestant.notes()
    for _, contestant in itertools.product(range(jobs), contestants):
        number = next(numbers)
        sent, answered = contestant.job(number)
        note = contestant.notes()[0][number]
        found[contestant.name].outside.append(MS * (answered - sent - (note["ended"] - note["started"])))
    for _, contestant in itertools.product(range(max(1, jobs // BATCH)), contestants):
        found[contestant.name].gaps += gaps(contestant, [next(numbers) for _ in range(BATCH)])
    for contestant in contestants:
        watch = Watch(contestant.front())
        for _ in range(jobs):
            contestant.job(next(numbers))
        found[contestant.name].cpu = MS * watch.cpu() / jobs
    return found


def gaps(contestant: Contestant, numbers: list[int]) -> list[float]:
    """Between jobs that are queued: from the end of work on the last rank to its beginning in the next job there."""
    contestant.queued(numbers)
    ranks = contestant.notes()
    order = sorted(numbers, key=lambda number: float(ranks[0][number]["started"]))
    return [
        MS * (max(notes[after]["started"] for notes in ranks) - max(notes[before]["ended"] for notes in ranks))
        for before, after in itertools.pairwise(order)
    ]


def fsync_milliseconds(folder: Path, count: int = 50) -> float:
    """One durable write of a small row on that disk: what an accepted job costs at the least."""
    taken = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(count):
            started = time.monotonic()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            taken.append(MS * (time.monotonic() - started))
    return statistics.median(taken)


def report(found: dict[str, Samples], fsync: float, jobs: int, missing: str) -> str:
    """The document."""
    floor = next(iter(found.values()))
    lines = [
        "| server | outside the worker | over the floor's | gap between queued jobs | CPU per job beside the worker |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, samples in found.items():
        outside, gap = statistics.median(samples.outside), statistics.median(samples.gaps)
        ratio = outside / statistics.median(floor.outside)
        lines.append(f"| {name} | {outside:.2f} ms | {ratio:.1f} x | {gap:.2f} ms | {samples.cpu:.2f} ms |")
    command = f"python benchmarks/peers.py --jobs {jobs}"
    return _DOCUMENT.format(
        where=machine(), jobs=jobs, command=command, table="\n".join(lines), fsync=fsync, missing=missing
    )


_DOCUMENT = """\
# Comparison with other servers

The overhead of servers over the worker's own time, for the same work: five steps of 20 ms of sleep, {jobs} jobs one
after the other over one kept-alive connection, the servers in turn. Medians; CPU is a mean. Measured on {where}.
The command, after `make bench-peers` has created the environment for LitServe:

    {command}

{table}

{missing}- Outside the worker: from sending the POST to receiving the output, less the time between the first and last
  line of the work on rank zero. LitServe returns the output in the response to the POST; the floor and this server need
  two requests, as any queue does: POST, then GET with `?wait=`.
- The gap is from the end of the work on the last rank to its start in the next queued job on the last rank.
- The floor is `http.server` with a queue and a thread (`benchmarks/floor.py`): no validation, no storage. Its
  worker is a thread of the same process, so its CPU time includes the worker's.
- One durable write of 4 KiB on the same disk took {fsync:.2f} ms (median). This server makes one before it accepts a
  job; the floor and LitServe keep their queue in memory.
- The targets are 1.2 times LitServe's time outside the worker, 1.5 times its gap and twice its CPU time, with a durable
  queue; all three are missed. No single part stands out: a job is two requests through gunicorn, Flask and the checks
  of a request, three transactions of the store (accepted, started, ended), three log lines, and messages between four
  processes (client, web worker, controller, ranks), each of them Python. Closer would be fewer processes, or a queue
  that a crash may lose.
"""


def contestants(folder: Path, litserve: str | None, stack: ExitStack) -> list[Contestant]:
    """All that can be had, ready."""
    found: list[Contestant] = [stack.enter_context(closing(Floor(folder / "floor")))]
    if litserve is not None:
        found.append(stack.enter_context(closing(LitServe(folder / "litserve", litserve))))
    found += [stack.enter_context(closing(Ours(folder / f"ours-{ranks}", ranks))) for ranks in (1, 2)]
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litserve", help="interpreter of an environment that has litserve")
    parser.add_argument("--jobs", type=int, default=50, help="jobs for each figure of each server")
    parser.add_argument("--output", type=Path, help="Markdown file to write the report to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, ExitStack() as stack:
        folder = Path(name)
        fsync = fsync_milliseconds(folder)
        found = measure(contestants(folder, arguments.litserve, stack), arguments.jobs)
    missing = "" if arguments.litserve else "- LitServe was not measured: no environment that has it was named.\n"
    text = report(found, fsync, arguments.jobs, missing)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
