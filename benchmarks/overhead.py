"""Measures what the server adds to the same pipeline run bare under torchrun on the same two ranks.

    python benchmarks/overhead.py [--quick] [--output docs/benchmarks.md]

Prints one table with the targets beside the figures. Keep the machine quiet meanwhile; on CPU ranks, GPUs are hidden.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import Comparison, canceled_jobs, cpu_of_jobs, polled_jobs, queued_jobs, single_jobs
from measure import Watch, pss_megabytes, roles
from processes import Bare, Server
from server import RANKS
from steps import step_control
from table import Row, machine, markdown, told, verdict

SLEEPING = {"steps": 5, "delay": 0.02}
DEMO = {"prompt": "a large red circle on the left on a blue background"}


@dataclass(frozen=True, slots=True)
class Scale:
    """How often things are measured; idle in seconds."""

    sleeping_jobs: int = 100
    demo_jobs: int = 40
    sleeping_gaps: int = 100
    demo_gaps: int = 20
    cancels: int = 50
    cpu_jobs: int = 50
    cpu_demo_jobs: int = 15
    loops: int = 10
    steps: int = 400
    poll_rounds: int = 25
    idle: float = 20.0


QUICK = Scale(
    sleeping_jobs=20,
    demo_jobs=5,
    sleeping_gaps=20,
    demo_gaps=4,
    cancels=15,
    cpu_jobs=20,
    cpu_demo_jobs=8,
    loops=3,
    steps=200,
    poll_rounds=2,
    idle=10.0,
)


@contextmanager
def comparison(
    folder: Path, name: str, predictor: str, arguments: dict[str, Any], model_path: str | None = None
) -> Iterator[Comparison]:
    """A server and the same predictor under torchrun, both ready and warm; the server has started alone."""
    folder.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(closing(Server(folder, predictor, model_path)))
        bare = stack.enter_context(closing(Bare(folder, predictor, model_path)))
        bare.wait_ready()
        pair = Comparison(name, server, bare, arguments)
        pair.warm_up()
        yield pair


def sleeping_figures(folder: Path, scale: Scale) -> list[Row]:
    """With five sleeping steps and a collective in each: the work that peers were measured on."""
    rows = []
    with comparison(folder, "5 x 20 ms of sleep", "SleepingPredictor", SLEEPING) as pair:
        rows += told(single_jobs(pair, scale.sleeping_jobs))
        rows += told(queued_jobs(pair, scale.sleeping_gaps))
        rows += told(cpu_of_jobs(pair, scale.cpu_jobs))
        rows += told(step_control(pair, scale.loops, scale.steps, 0.0))
        rows += told(step_control(pair, scale.loops, scale.steps // 2, 0.004))
        rows += told(canceled_jobs(pair, scale.cancels, {"steps": 500}))
    return rows


def demo_figures(folder: Path, scale: Scale, model_path: str | None) -> list[Row]:
    """With the demo model; then what the idle server takes."""
    with comparison(folder, "demo model", "TimedDemoPredictor", DEMO, model_path) as pair:
        rows = told(start_rows("a fresh state directory", pair.server))
        rows += told(single_jobs(pair, scale.demo_jobs))
        rows += told(queued_jobs(pair, scale.demo_gaps))
        rows += told(cpu_of_jobs(pair, scale.cpu_demo_jobs))
        rows += told(canceled_jobs(pair, scale.cancels, {"num_inference_steps": 50}))
        rows += told(polled_jobs(pair, scale.poll_rounds))
        rows += told(memory(pair.server))
        pair.bare.close()
        rows += told(idle_cpu(pair.server, scale.idle))
    with closing(Server(folder, "TimedDemoPredictor", model_path, run=1)) as again:
        return rows + told(start_rows("a restart, schema known", again))


def memory(server: Server) -> list[Row]:
    """After all jobs."""
    who = roles(server.process.pid)
    return [
        Row("memory (PSS): controller, gunicorn master, web worker", "MB", pss_megabytes(*who.front), 1, target=160.0),
        Row("memory (PSS): forkserver", "MB", pss_megabytes(who.forkserver), 1),
        Row("memory (PSS): ranks together", "MB", pss_megabytes(*who.ranks), len(who.ranks)),
    ]


def idle_cpu(server: Server, seconds: float) -> list[Row]:
    """All processes of a server with nothing to do."""
    who = roles(server.process.pid)
    watch = Watch([*who.front, who.forkserver, *who.ranks])
    time.sleep(seconds)
    return [Row("idle CPU, all processes, of a core", "%", 100 * watch.share(), 1, target=1.0)]


def start_rows(how: str, server: Server) -> list[Row]:
    """From the command to work being taken, and done."""
    return [
        Row(f"start to jobs being accepted, {how}", "s", server.first_202, 1),
        Row(f"start to a group being ready, {how}", "s", server.ready, 1),
    ]


def report(rows: list[Row], command: str) -> str:
    """The document: where, how, the table, and how to read it."""
    where = f"{machine()}; {RANKS} ranks on the CPU over gloo"
    return _DOCUMENT.format(where=where, command=command, verdict=verdict(rows), table=markdown(rows))


_DOCUMENT = """\
# Benchmarks

The overhead of the server over the same pipeline under a bare torchrun on two ranks. Both run at the same time and
take turns, job by job. Measured on {where}; {verdict}. The command:

    {command}

{table}

- Added: from sending the POST to the response of `?wait`, less rank zero's time in `predict`. A job is on disk
  before it is accepted.
- The last rank: the one that arrives last. A gap is from the end of `predict` on the last rank to the first line of
  the next job's on the last rank.
- Step control: a loop of one small all_reduce and one `step()` per iteration in the server, less the same loop bare;
  the medians, and the 99th percentiles, of the iterations are compared. The time in the call includes the wait for a
  later rank.
- Cancel: POSTs to `/cancel/ID` at random moments of running jobs, answered when all ranks have left the job.
- Polls: `GET /request_status/ID` over four connections from another process on the same cores; jobs with and without
  polls take turns, and each is compared with the median of those without in its round. The poller's own CPU use also
  slows the job.
- The count is of samples; where it is small, p99 is the largest of them. CPU per job is a mean.
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples: within 90 seconds")
    parser.add_argument("--output", type=Path, help="Markdown file to write the report to")
    parser.add_argument("--model-path", help="other weights for the demo model")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # by way of everything that stops processes
    scale = QUICK if arguments.quick else Scale()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        rows = sleeping_figures(Path(folder) / "sleeping", scale)
        rows += demo_figures(Path(folder) / "demo", scale, arguments.model_path)
    text = report(rows, "python benchmarks/overhead.py" + " --quick" * arguments.quick)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + other_sections(arguments.output))


def other_sections(page: Path) -> str:
    """What other benchmarks have on that page: all from its first section on."""
    _, heading, rest = page.read_text().partition("\n## ") if page.exists() else ("", "", "")
    return heading + rest


if __name__ == "__main__":
    main()
