"""Faults, one at a time, and what each costs: a dead rank, a stopped one, one that raises; and cancels."""

from __future__ import annotations

import signal
import statistics
import time

from cancels import Canceled, cancel
from lab import STEPS, Lab
from measure import spread
from server import RANKS
from table import Row, row_of

MS = 1000.0
SEEN, HEALED, NAMED, SETTLED = 100.0, 2000.0, 1000.0, 10.0
"""Targets in milliseconds: a death seen (p99), a group healed (p50), a hang named beyond its budget; and how much more
than a step a cancel may take."""


def dead_ranks(lab: Lab, count: int) -> list[Row]:
    """SIGKILL of a random rank at a random moment of a job."""
    seen, healed, done = [], [], []
    while len(done) < count:
        job_id, _ = lab.begin()
        struck, rank = lab.strike(signal.SIGKILL)
        died = lab.log.wait_for("rank died", struck)
        ready = lab.ready_after(struck)
        if died["rank"] != rank:
            raise RuntimeError(f"rank {rank} was killed, and the server saw the death of rank {died['rank']}")
        if lab.end(job_id)["attempts"] == 1:
            continue  # its output was out before the kill: the rank may have been idle
        seen.append(MS * (died["at"] - struck))
        healed.append(MS * (ready - struck))
        done.append(MS * (time.time() - struck))
    return [
        row_of("SIGKILL of a rank: until it is detected", "ms", spread(seen), p99=SEEN),
        row_of("SIGKILL of a rank: until the group is ready for the next job", "ms", spread(healed), HEALED),
        row_of("SIGKILL of a rank: until its restarted job has succeeded", "ms", spread(done)),
    ]


def stopped_ranks(lab: Lab, count: int, budget: float) -> list[Row]:
    """SIGSTOP of a random rank at a random moment of a job. budget: seconds that every step of the server has."""
    named, healed, wrong = [], [], 0
    while len(named) < count:
        job_id, _ = lab.begin()
        struck, rank = lab.strike(signal.SIGSTOP)
        rebuilt = lab.log.wait_for("worker group is rebuilt", struck)
        ready = lab.ready_after(struck)
        lab.end(job_id)
        named.append(MS * (rebuilt["at"] - struck - budget))
        healed.append(MS * (ready - rebuilt["at"]))
        wrong += f"rank {rank} holds the others up" not in rebuilt["cause"]
    figure = f"SIGSTOP of a rank: until the hang is reported, beyond its budget of {budget:g} s"
    return [
        row_of(figure, "ms", spread(named), NAMED, NAMED),
        Row("SIGSTOP of a rank: another rank named, or none", "", wrong, count, target=0),
        row_of("SIGSTOP of a rank: from the report until the group is ready", "ms", spread(healed), HEALED),
    ]


def raising_ranks(lab: Lab, count: int) -> list[Row]:
    """An exception on a random rank, after a random step, while the others go on."""
    failed, healed, untrue = [], [], 0
    wall = time.time() - time.monotonic()
    for _ in range(count):
        rank, step = lab.rng.randrange(RANKS), lab.rng.randint(1, STEPS - 1)
        job_id, number = lab.begin("failed", raise_on=rank, raise_at=step)
        error = lab.end(job_id)["error"]
        answered = time.time()
        raised = wall + lab.server.stamps.read()[rank][number]["ended"]
        ready = lab.ready_after(raised)
        failed.append(MS * (answered - raised))
        healed.append(MS * (ready - raised))
        untrue += (error["type"], error.get("rank")) != ("RuntimeError", rank)
    return [
        row_of("exception on one rank: until its client gets the error", "ms", spread(failed)),
        Row("exception on one rank: another cause or rank reported", "", untrue, count, target=0),
        row_of("exception on one rank: until the group is ready for the next job", "ms", spread(healed), HEALED),
    ]


def canceled_jobs(lab: Lab, count: int) -> list[Row]:
    """POST /cancel at a random moment after POST /generate."""
    done: list[Canceled] = []
    lab.server.stamps.read()
    while len(done) < count:
        job_id, number = lab.begin("canceled", "succeeded")
        time.sleep(lab.rng.uniform(0, 0.9 * lab.job_seconds))
        sample = cancel(lab.server, job_id, number)
        lab.end(job_id)
        if sample is None:
            lab.server.stamps.read()
        else:
            done.append(sample)
    step = statistics.median(length for sample in done for length in sample.step_lengths)
    latency, wasted = spread([sample.latency for sample in done]), spread([sample.wasted for sample in done])
    steps = spread([sample.steps for sample in done])
    apart = sum(not sample.same_step for sample in done)
    return [
        row_of(f"cancel: POST to answer, one step being {step:.1f} ms", "ms", latency, step + SETTLED),
        row_of("cancel: steps that end after the POST", "", steps, 1.0),
        Row("cancel: left by the ranks at different steps", "", apart, count, target=0),
        row_of("cancel: work wasted, ranks' time after the POST, all ranks together", "ms", wasted),
    ]
