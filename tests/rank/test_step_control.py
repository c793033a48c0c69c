"""Step control between real processes on one board: every rank leaves at the same point, whatever the timing."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from para_attn_server.core.wire.ranks import FromRank, Log, Step
from para_attn_server.core.wire.step_board import REFUSED_ENTRY, Decision, StepBoard
from para_attn_server.rank.step_control import RunCanceled, RunRefused, StepControl

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
        except RunCanceled:
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
    except (RunRefused, RunCanceled) as left:
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
        ([7, 7, 7], True, "RunCanceled"),
    ],
)
def test_ranks_enter_a_run_together_or_not_at_all(entries: list[int], cancel: bool, expected: str) -> None:
    assert in_processes(3, partial(entered, entries=entries, cancel=cancel)) == [expected] * 3


@pytest.fixture
def alone() -> Iterator[tuple[StepControl, list[FromRank]]]:
    """The only rank's control, in a run, and what it sends."""
    board, sent = StepBoard.create(1), list[FromRank]()
    control = StepControl(board, 0, CancelAfter(99), sent.append)
    control.enter(1, 5)
    yield control, sent
    control.leave()
    board.close()


def in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_threads_of_the_run_step_and_those_of_no_run_do_nothing(
    alone: tuple[StepControl, list[FromRank]], caplog: pytest.LogCaptureFixture
) -> None:
    control, sent = alone

    def call() -> None:
        control.step(3, 9)
        control.log("here")

    in_thread(lambda: in_thread(call))
    assert (control.points, sent) == (2, [Step(1, 3, 9), Log(1, ["here"])])
    control.returned()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            call()
            in_thread(call)
    assert (control.points, len(sent)) == (2, 2)
    assert [record.__dict__["call"] for record in caplog.records] == ["self.step", "self.log"], "once for each"


@pytest.mark.parametrize("lives_on", ["in one thread", "in a thread that starts the next"])
def test_a_thread_that_a_run_left_behind_does_nothing_in_the_next_one(
    alone: tuple[StepControl, list[FromRank]], lives_on: str
) -> None:
    control, _ = alone
    go_on, called = threading.Event(), threading.Event()

    def late() -> None:
        go_on.wait(30)
        control.step(7, 9)
        called.set()

    def again() -> None:
        go_on.wait(30)
        in_thread(late)

    thread = threading.Thread(target=late if lives_on == "in one thread" else again)
    thread.start()
    control.leave()
    control.enter(2, 5)
    control.step(1, 9)
    go_on.set()
    thread.join(30)
    assert called.is_set()
    assert (control.points, control.steps) == (2, 1)


def test_a_thread_of_a_follower_that_waits_is_let_go_at_the_end_of_the_run() -> None:
    board = StepBoard.create(2)
    control = StepControl(board, 1, None, lambda message: None)
    for serial in (1, 2):
        board.decide(serial, 0, Decision.GO)
        control.enter(serial, 5)
        waiting = threading.Thread(target=control.step, args=(1, 9))
        waiting.start()
        control.leave()
        waiting.join(30)
        assert not waiting.is_alive()
    board.close()


def test_a_process_forked_in_a_run_does_nothing(alone: tuple[StepControl, list[FromRank]]) -> None:
    control, sent = alone
    child = os.fork()
    if child == 0:
        control.step(1, 2)
        control.log("from a child")
        os._exit(0 if control.points == 1 and not sent else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_what_predict_counts_by_hand_stays_while_a_pipeline_steps(alone: tuple[StepControl, list[FromRank]]) -> None:
    control, _ = alone
    control.pipeline_step(2, 4)
    assert control.steps == 2
    control.step(10, 100)
    control.pipeline_step(3, 4)
    assert (control.points, control.steps) == (4, 10)


@pytest.mark.parametrize(("step", "total"), [(2**63, None), (1, 2**70), (-(2**64), 3)])
def test_a_step_that_the_board_cannot_hold_is_said_and_nothing_is_reported(
    alone: tuple[StepControl, list[FromRank]], step: int, total: int | None
) -> None:
    control, sent = alone
    points = control.points
    for report in (control.step, control.pipeline_step):
        with pytest.raises(ValueError, match=r"both must be less than 2\*\*63"):
            report(step, total)
    assert not sent and control.points == points


def test_starting_threads_is_as_before_once_a_run_has_ended() -> None:
    before = threading.Thread.start
    board = StepBoard.create(1)
    control = StepControl(board, 0, CancelAfter(99), lambda message: None)
    for serial in (1, 2):
        control.enter(serial, 5)
        control.leave()
    board.close()
    assert threading.Thread.start is before


def test_lines_are_life_only_where_predicts_own_thread_logs_them() -> None:
    board, sent = StepBoard.create(1), list[FromRank]()
    control = StepControl(board, 0, CancelAfter(99), sent.append)
    control.log("before the run")
    control.enter(1, 5)
    beat = board.progress(0).heartbeat
    other = threading.Thread(target=control.log, args=["from another thread"])
    other.start()
    other.join()
    assert board.progress(0).logged == 0.0
    control.log("from predict's")
    assert board.progress(0).logged >= beat == board.progress(0).heartbeat, "a line is not a step"
    control.returned()
    control.log("too late")
    board.close()
    assert [line for message in sent if isinstance(message, Log) for line in message.lines] == [
        "from another thread",
        "from predict's",
    ]
