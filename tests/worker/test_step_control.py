"""Step control between real processes on one board: every rank leaves at the same point, whatever the timing."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from para_attn_server.core.board import REFUSED_ENTRY, StepBoard
from para_attn_server.core.messages import FromRank, Log
from para_attn_server.worker.step_control import JobCanceled, RunRefused, StepControl

STEPS = 30


class CancelAfter:
    """Orders that ask for a cancel once rank zero has looked that many times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def canceled(self, serial: int) -> bool:
        self.looks -= 1
        return self.looks < 0


def in_processes(ranks: int, work: Callable[[int, StepBoard], Any]) -> list[Any]:
    """`work(rank, board)` in one process per rank; what each returned."""
    context = multiprocessing.get_context("fork")
    board = StepBoard.create(ranks)
    pipes = [context.Pipe(duplex=False) for _ in range(ranks)]
    processes = [
        context.Process(target=lambda rank=rank: pipes[rank][1].send(work(rank, board))) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    try:
        answers = []
        for receiving, _ in pipes:
            assert receiving.poll(60), "a rank is stuck"
            answers.append(receiving.recv())
        return answers
    finally:
        for process in processes:
            process.kill()
            process.join()
        board.close()


def many_runs(rank: int, board: StepBoard, runs: int, jitter: float) -> list[Any]:
    """Runs one after the other, each canceled at a moment of its own; where this rank left each."""
    left = []
    for serial in range(1, runs + 1):
        orders = CancelAfter(random.Random(serial).randrange(0, STEPS + 3))
        control = StepControl(board, rank, orders if rank == 0 else None, lambda message: None)
        rng = random.Random(serial * 100 + rank)
        try:
            control.enter(serial, 5)
            for step in range(1, STEPS + 1):
                if rng.random() < jitter:
                    time.sleep(rng.uniform(0, 0.002))
                control.step(step, STEPS)
            left.append("end")
        except JobCanceled:
            left.append((control.points, control.steps))
    return left


@pytest.mark.parametrize(("ranks", "runs"), [(2, 150), (4, 60)])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_all_ranks_leave_every_run_at_the_same_step(ranks: int, runs: int, jitter: float) -> None:
    answers = in_processes(ranks, partial(many_runs, runs=runs, jitter=jitter))
    assert all(answer == answers[0] for answer in answers)
    assert len({str(left) for left in answers[0]}) > 10, "the cancels came at many different steps"


def entered(rank: int, board: StepBoard, entries: list[int], cancel: bool) -> str:
    control = StepControl(board, rank, CancelAfter(0 if cancel else 99) if rank == 0 else None, lambda message: None)
    try:
        control.enter(1, entries[rank])
    except (RunRefused, JobCanceled) as left:
        return type(left).__name__
    return "entered"


@pytest.mark.parametrize(
    ("entries", "cancel", "expected"),
    [
        ([7, 7, 7], False, "entered"),
        ([7, 8, 7], False, "RunRefused"),
        ([8, 7, 7], False, "RunRefused"),
        ([7, REFUSED_ENTRY, 7], False, "RunRefused"),
        ([REFUSED_ENTRY] * 3, False, "RunRefused"),
        ([7, 7, 7], True, "JobCanceled"),
    ],
)
def test_ranks_enter_a_run_together_or_not_at_all(entries: list[int], cancel: bool, expected: str) -> None:
    assert in_processes(3, partial(entered, entries=entries, cancel=cancel)) == [expected] * 3


def test_a_log_line_is_text_that_can_be_sent_on() -> None:
    board, sent = StepBoard.create(1), list[FromRank]()
    StepControl(board, 0, CancelAfter(99), sent.append).log("read caf\udce9.png as caf\u00e9.png")
    board.close()
    assert sent == [Log(0, "read caf?.png as caf\u00e9.png")]
