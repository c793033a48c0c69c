"""One cancel of a running job, and what it cost."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

from processes import Server

MS = 1000.0


@dataclass(frozen=True, slots=True)
class Canceled:
    """Milliseconds and steps after POST /cancel was sent.

    latency: to its answer. beyond: from the end of the last step to the answer. steps: that ended after the POST, on
    the rank with the most. wasted: what all ranks together still spent in predict. same_step: whether all left after
    the same number of steps. step_lengths: of rank zero's steps.
    """

    latency: float
    beyond: float
    steps: int
    wasted: float
    same_step: bool
    step_lengths: list[float]


def cancel(server: Server, job_id: str, number: int) -> Canceled | None:
    """Cancel that job, whose number is its seed; None if it had ended before.

    A job that is canceled before its ranks have entered predict costs no step.
    """
    sent = time.monotonic()
    status, body = server.connection.json("POST", f"/cancel/{job_id}")
    answered = time.monotonic()
    if status == 404 or (status == 200 and body["status"] == "succeeded"):
        return None
    if (status, body["status"]) != (200, "canceled"):
        raise RuntimeError(f"the cancel was answered with {status}: {body}")
    notes = server.stamps.read()
    ranks = [of_rank[number] for of_rank in notes if number in of_rank]
    last = max((max([rank["started"], *rank["steps"]]) for rank in ranks), default=sent)
    return Canceled(
        latency=MS * (answered - sent),
        beyond=MS * (answered - max(sent, last)),
        steps=max((sum(done > sent for done in rank["steps"]) for rank in ranks), default=0),
        wasted=MS * sum(max(0.0, rank["ended"] - max(sent, rank["started"])) for rank in ranks),
        same_step=len({len(of_rank.get(number, {"steps": ()})["steps"]) for of_rank in notes}) == 1,
        step_lengths=[MS * (end - begin) for begin, end in itertools.pairwise(ranks[0]["steps"])] if ranks else [],
    )
