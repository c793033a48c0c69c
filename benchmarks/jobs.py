"""Figures that are measured alike with every predictor: one job, two queued jobs, a cancel, CPU and polls."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

from cancels import cancel
from measure import Watch, roles, spread
from processes import Bare, PollerProcess, Server
from server import wait_until
from table import Row, row_of

MS = 1000.0
POLL_RATE = 200
POLL_RATES = (POLL_RATE, 400, 800)
COSTLY = 5.0
"""Percent."""


@dataclass
class Comparison:
    """A server and its bare twin. name: of the predictor, in the table. arguments: of each job, whose number is its
    seed."""

    name: str
    server: Server
    bare: Bare
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def number(self) -> int:
        """The next job's number."""
        return next(self._numbers)

    def warm_up(self) -> None:
        """What is slow the first time is not measured."""
        for _ in range(3):
            self.server.job(**self.arguments, seed=self.number())
            self.bare.job(**self.arguments, seed=self.number())
        self.server.stamps.read(), self.bare.stamps.read()


def single_jobs(pair: Comparison, count: int) -> list[Row]:
    """Jobs one at a time, server and bare in turn."""
    added, arrival, first, total, predict, bare = [], [], [], [], [], []
    for _ in range(count):
        number = pair.number()
        sent, answered = pair.server.job(**pair.arguments, seed=number)
        ranks = [notes[number] for notes in pair.server.stamps.read()]
        pair.bare.job(**pair.arguments, seed=number)
        alone = pair.bare.stamps.read()[0][number]
        total.append(answered - sent)
        predict.append(ranks[0]["ended"] - ranks[0]["started"])
        added.append(total[-1] - predict[-1])
        arrival.append(max(rank["started"] for rank in ranks) - sent)
        first.append(max(rank["steps"][0] for rank in ranks) - sent)
        bare.append(alone["ended"] - alone["started"])

    def in_ms(figure: str, samples: list[float], target: float | None = None) -> Row:
        return row_of(f"{figure}, {pair.name}", "ms", spread([MS * sample for sample in samples]), target)

    ratio = 100 * (statistics.median(total) / statistics.median(bare) - 1)
    return [
        in_ms("added per job", added, 6.0),
        in_ms("POST to first line of predict on the last rank", arrival, 5.0),
        in_ms("POST to end of the first step", first),
        in_ms("time per job, server: POST to answer", total),
        in_ms("... of it in predict on rank zero", predict),
        in_ms("time per job, bare torchrun: predict on rank zero", bare),
        Row(f"server's time per job over bare torchrun's, {pair.name}", "%", ratio, count),
    ]


def queued_jobs(pair: Comparison, count: int, batch: int = 20) -> list[Row]:
    """From the end of predict on the rank that ends last to its first line in the next job on the rank that is last."""
    gaps = []
    while len(gaps) < count:
        numbers = [pair.number() for _ in range(min(batch, count - len(gaps)) + 1)]
        ids = [pair.server.submit(**pair.arguments, seed=number) for number in numbers]
        for job_id in ids:
            pair.server.finish(job_id)
        ranks = pair.server.stamps.read()
        for before, after in itertools.pairwise(numbers):
            ended = max(notes[before]["ended"] for notes in ranks)
            gaps.append(MS * (max(notes[after]["started"] for notes in ranks) - ended))
    return [row_of(f"gap between queued jobs, {pair.name}", "ms", spread(gaps), 2.0, 5.0)]


def canceled_jobs(pair: Comparison, count: int, further: dict[str, Any]) -> list[Row]:
    """POST /cancel at a random moment of a running job. further: arguments that make it long enough."""
    rng = random.Random(0)
    done = []
    while len(done) < count:
        number = pair.number()
        job_id = pair.server.submit(**{**pair.arguments, **further}, seed=number)
        wait_until(lambda job_id=job_id: pair.server.step_of(job_id) >= 2, "the second step")
        time.sleep(rng.uniform(0, 0.05))
        sample = cancel(pair.server, job_id, number)
        if sample is None:
            raise RuntimeError("the job ended before it could be canceled")
        done.append(sample)
    step = statistics.median(length for sample in done for length in sample.step_lengths)
    latency, beyond = spread([sample.latency for sample in done]), spread([sample.beyond for sample in done])
    steps = spread([sample.steps for sample in done])
    return [
        row_of(f"cancel: POST to answer, one step being {step:.1f} ms, {pair.name}", "ms", latency, step + 5.0),
        row_of(f"cancel: end of the last step to answer, {pair.name}", "ms", beyond, 5.0),
        row_of(f"cancel: steps that end after the POST, {pair.name}", "", steps, 1.0),
    ]


def cpu_of_jobs(pair: Comparison, count: int) -> list[Row]:
    """CPU time of controller, gunicorn master and web worker over jobs of one POST and one ?wait each."""
    processes = roles(pair.server.process.pid)
    controller, web = Watch([processes.controller]), Watch([processes.master, *processes.web])
    for _ in range(count):
        pair.server.job(**pair.arguments, seed=pair.number())
    shares = [MS * watch.cpu() / count for watch in (controller, web)]
    pair.server.stamps.read()
    return [
        Row(f"CPU per job in controller and web, mean, {pair.name}", "ms", sum(shares), count, target=4.0),
        Row(f"... of it in the controller, {pair.name}", "ms", shares[0], count),
        Row(f"... of it in gunicorn's master and worker, {pair.name}", "ms", shares[1], count),
    ]


@dataclass(slots=True)
class _Polled:
    """What jobs took at one rate of polls, in percent more than the same round's without; and what polling took."""

    slower: list[float]
    rates: list[float]
    poller: list[float]
    front: list[float]


def polled_jobs(pair: Comparison, rounds: int) -> list[Row]:
    """Jobs with status polls beside them, in turn with jobs without."""
    poller = PollerProcess(pair.server.address)
    front = roles(pair.server.process.pid).front
    at: dict[int, _Polled] = {rate: _Polled([], [], [], []) for rate in POLL_RATES}
    try:
        for _ in range(rounds):
            alone, beside = [], []
            for rate, polled in at.items():
                alone.append(_seconds(pair))
                beside.append(_seconds_while_polled(pair, poller, rate, polled, front))
            for polled, seconds in zip(at.values(), beside, strict=True):
                polled.slower.append(100 * (seconds / statistics.median(alone) - 1))
    finally:
        poller.close()
    pair.server.stamps.read()
    return _polled_rows(pair.name, at)


def _seconds(pair: Comparison) -> float:
    sent, answered = pair.server.job(**pair.arguments, seed=pair.number())
    return answered - sent


def _seconds_while_polled(
    pair: Comparison, poller: PollerProcess, rate: int, polled: _Polled, front: list[int]
) -> float:
    sent = time.monotonic()
    job_id = pair.server.submit(**pair.arguments, seed=pair.number())
    watch = Watch(front)
    with poller.polling(rate, f"/request_status/{job_id}") as done:
        pair.server.finish(job_id)
        answered = time.monotonic()
        polled.front.append(100 * watch.share())
    if done["refused"]:
        raise RuntimeError(f"{done['refused']} polls were refused")
    polled.rates.append(done["answers"] / done["seconds"])
    polled.poller.append(100 * done["cpu"] / done["seconds"])
    return answered - sent


def _polled_rows(name: str, at: dict[int, _Polled]) -> list[Row]:
    rows = []
    for rate, polled in at.items():
        target = 3.0 if rate == POLL_RATE else None
        reached = statistics.median(polled.rates)
        figure = f"{rate} status polls/s asked, {reached:.0f} answered: slow a job by, {name}"
        rows.append(row_of(figure, "%", spread(polled.slower), target))
    first = at[POLL_RATE]
    rows.append(Row(f"... at {POLL_RATE}/s, the poller's own CPU, of a core", "%", statistics.median(first.poller), 1))
    rows.append(
        Row(f"... at {POLL_RATE}/s, controller and web's CPU, of a core", "%", statistics.median(first.front), 1)
    )
    points = [(statistics.median(p.rates), statistics.median(p.slower)) for p in at.values()]
    rate, reached_it = costly_rate(points)
    bound = "" if reached_it else ", more than"
    rows.append(Row(f"status polls/s that slow a job by {COSTLY:.0f} %{bound}, {name}", "", rate, len(first.slower)))
    return rows


def costly_rate(points: list[tuple[float, float]]) -> tuple[float, bool]:
    """The rate at which the slow-down passes 5 %, straight lines between the points; False: the last, it never does."""
    before = (0.0, 0.0)
    for point in points:
        if point[1] >= COSTLY:
            return before[0] + (point[0] - before[0]) * (COSTLY - before[1]) / (point[1] - before[1]), True
        before = point
    return before[0], False
