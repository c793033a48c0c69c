"""Thousands of short jobs with cancels, kills and restarts: nothing may be lost, and nothing may grow.

    python benchmarks/soak.py [--jobs 2000] [--seed 0] [--output docs/soak.md]

The demo model on two CPU ranks. The first three quarters of the jobs have cancels only, so that processes live long
enough for a trend of their memory; in the last quarter processes are killed, and the server is stopped and started
again on its state directory. Prints one table; the exit code is 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from census import Holdings, holdings, marked, zombies
from endurance import CLIENTS, FAULTS, Endurance
from ledger import Audit, audit
from server import RANKS, wait_until, workplace
from table import Row, machine, markdown, told, verdict

SLOPES = {"controller": 32.0, "web worker": 32.0, "rank": 128.0}
"""Bounds: KiB of memory that a process may grow by in 100 jobs, its first ones left out. What kept one picture of each
job would grow by 1,200."""
WARM_UP, LEAST = 1000, 300
"""Jobs: a process's first ones fill its caches and are left out of its slope; with fewer after that it has none."""
DESCRIPTORS, THREADS = 0, 0
"""Bounds: how many more a process may hold at the end than its like held after the first jobs."""
LAG, LOAD = 50.0, 2.0
"""Bound: milliseconds; and the machine's load for each core up to which it holds."""
MARK = "BENCHMARK_SOAK"
"""Environment variable that every process of the soak carries."""
SETTLED = 20.0
"""Seconds that things have to be put away after the last job, and after the end of the server."""
SHARED_MEMORY = Path("/dev/shm")
CACHE = "torchinductor_"
"""What torch keeps in the folder for temporary files on purpose, one a user."""


def soak(folder: Path, jobs: int, seed: int) -> tuple[list[Row], Audit, Endurance]:
    """All of it: the rows of the table, what the audit found, and what was done."""
    shared = set(SHARED_MEMORY.iterdir())
    first = max(CLIENTS, jobs // 20)
    with closing(Endurance(folder, seed)) as server:
        server.phase(first, faults=False)
        start = holdings(server.server.roles())
        server.phase(jobs - jobs // 4 - first, faults=False)
        rows = told(memory(server)) + told(held(server, start, "after the fault-free phase")) + told(lag(server))
        server.phase(jobs // 4, faults=True)
        while len(server.faults) < len(FAULTS):  # few jobs end sooner than each kind of fault has had its turn
            server.phase(jobs // 4, faults=True)
        rows += told(held(server, start, "at the end"))
        left = settled(lambda: len(zombies(server.server.process.pid)))
        rows += told([Row("zombies below the controller, at the end", "", left, sum(server.faults.values()), target=0)])
        server.stop()
    audited = audit(server.ledger, server.state_dir, server.outputs)
    size = sum(path.stat().st_size for path in server.state_dir.glob("jobs.sqlite3*")) / 1024
    done = len(server.ledger.entries)
    rows += told([Row("database: growth in 100 jobs", "KiB", 100 * size / done, done)])
    return rows + told(leftovers(server, shared) + promises(server) + audited.rows()), audited, server


def settled(value: Callable[[], int], bound: int = 0) -> int:
    """The value once it is within its bound, or what it is after a while."""
    with suppress(TimeoutError):
        wait_until(lambda: value() <= bound, "the value to settle", SETTLED, every=0.2)
    return value()


def memory(server: Endurance) -> list[Row]:
    """The trend of every process's private memory over the fault-free phase, the worst of each kind, and its size."""
    rows = []
    for role, bound in SLOPES.items():
        slopes = server.census.slopes(role, WARM_UP, LEAST)
        if slopes:
            rows.append(Row(f"memory: growth in 100 jobs, {role}", "KiB", max(slopes), len(slopes), target=bound))
        sizes = [life.memory[-1] / 1024 for life in server.census.lives[role].values()]
        rows.append(Row(f"memory: size after the fault-free phase, {role}", "MiB", max(sizes), len(sizes)))
    return rows


def held(server: Endurance, start: dict[str, Holdings], when: str) -> list[Row]:
    """What processes hold beyond what their like held at the start."""

    def more(role: str, what: str) -> int:
        return int(getattr(holdings(server.server.roles())[role], what) - getattr(start[role], what))

    rows = []
    for role, before in start.items():
        for what, bound in (("descriptors", DESCRIPTORS), ("threads", THREADS)):
            value = settled(partial(more, role, what), bound)
            figure = f"{what} more than at the start, {when}, {role}"
            rows.append(Row(figure, "", value, getattr(before, what), target=bound))
    return rows


def lag(server: Endurance) -> list[Row]:
    """How late the controller's loop was over the fault-free phase; judged where the machine was not busy otherwise."""
    load, cores = os.getloadavg()[1], os.cpu_count() or 1
    figure = f"lag of the controller's loop, 999 of 1,000 rounds (load {load:.1f} on {cores} cores)"
    target = LAG if load <= LOAD * cores else None
    return [Row(figure, "ms", 1000 * server.server.loop_lag()["p999"], len(server.ledger.entries), target=target)]


def leftovers(server: Endurance, shared: set[Path]) -> list[Row]:
    """What is left when the server has ended."""
    processes = settled(lambda: len(marked(MARK)))
    segments = settled(lambda: len(set(SHARED_MEMORY.iterdir()) - shared))
    files = settled(lambda: len(temporary_files(server)))
    starts, ends = server.runs, len(server.exits)
    return [
        Row("processes left", "", processes, starts, target=0),
        Row("shared memory left (names in /dev/shm)", "", segments, starts, target=0),
        Row("temporary files left", "", files, starts, target=0),
        Row("ends by SIGTERM with an exit code other than 0", "", sum(map(bool, server.exits)), ends, target=0),
    ]


def temporary_files(server: Endurance) -> list[Path]:
    """In the folder for such files, and in the state directory."""
    found = [*server.temporary.iterdir(), *(server.state_dir / "run").iterdir()]
    return [path for path in found if not path.name.startswith(CACHE)]


def promises(server: Endurance) -> list[Row]:
    """What clients were refused, and what jobs were charged for."""
    entries = server.ledger.entries.values()
    charged, deaths = sum(max(0, entry.attempts - 1) for entry in entries), server.faults["rank"]
    refused = len(server.ledger.refused)
    return [
        Row("jobs refused until their client's timeout", "", refused, len(entries), target=0),
        Row("attempts charged, beyond one for each rank killed", "", max(0, charged - deaths), deaths, target=0),
    ]


def report(rows: list[Row], server: Endurance, jobs: int, seed: int) -> str:
    """The document: where, when, how, the table, and how to read it."""
    ends = [entry.told for entry in server.ledger.entries.values()]
    return _DOCUMENT.format(
        jobs=len(ends),
        where=f"{machine()}; {RANKS} ranks on the CPU over gloo",
        date=datetime.now(UTC).date(),
        verdict=verdict(rows),
        command=f"python benchmarks/soak.py --jobs {jobs} --seed {seed}",
        succeeded=ends.count("succeeded"),
        canceled=ends.count("canceled"),
        clients=CLIENTS,
        faults=", ".join(f"{count} x {fault}" for fault, count in sorted(server.faults.items())),
        table=markdown(rows),
        warm_up=WARM_UP,
        least=LEAST,
    )


_DOCUMENT = """\
# Soak

{jobs} short jobs of the demo model (64 x 64 pixels, 1 to 4 steps) from {clients} clients, some canceled at random
moments. During the last quarter processes are killed at random, and the server is stopped with SIGTERM and restarted
on its state directory. `make soak` runs this command, which writes this page:

    {command}

Measured on {date}, on {where}; {verdict}.

{succeeded} jobs succeeded, {canceled} were canceled. Faults: {faults}. A restart is SIGTERM and a new start, the others
are SIGKILL.

{table}

- Memory: growth of anonymous memory in the fault-free phase (least squares; the first {warm_up} jobs of a process are
  skipped, and at least {least} must follow). The count is of such processes; the worst one is shown.
- Descriptors and threads: growth of the idle server since the end of the first jobs; the count is the number then.
- Lag: the delay of work that was due in the controller's loop, a cancel for example; the count is of jobs. There is no
  target if the machine's five-minute load was above 2 per core.
- Left: what remains of all that was started, after the server has ended. The count is of the server's starts.
- Lost and doubled: the clients' ledger compared with the server's database and output folder. A job must
  succeed, unless its client has canceled it. The same arguments must give the same picture, bit for bit; there are 48
  different ones.
- Attempts: only the death of a rank is charged to a job, not that of the controller, the forkserver or the web server.

The cost of each of these faults alone: [reliability.md](reliability.md).
"""


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000, help="how many (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of jobs, cancels and faults")
    parser.add_argument("--output", type=Path, help="Markdown file to write the report to")
    parser.add_argument("--folder", type=Path, help="a new folder to keep logs, database and outputs in")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # by way of everything that stops processes
    os.environ[MARK] = uuid.uuid4().hex
    with workplace(arguments.folder) as folder:
        rows, audited, server = soak(folder, arguments.jobs, arguments.seed)
    text = report(rows, server, arguments.jobs, arguments.seed)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text)
    for complaint in audited.complaints:
        print(complaint, file=sys.stderr)
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
