"""The step board: what one process writes another reads, and nothing of an earlier run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import wait_until

from para_attn_server.core.wire.step_board import REFUSED_ENTRY, Decision, Phase, StepBoard

SERIALS = st.integers(1, 2**24 - 1)
FOLLOWER = """
import sys
from para_attn_server.core.wire.step_board import Decision, Phase, StepBoard
board = StepBoard(int(sys.argv[1]), 2)
board.enter(1, 7, 12345)
for point in range(1, 2001):
    while (decision := board.decision(7, point)) is Decision.NONE:
        pass
    board.report_step(1, point, 2000)
    board.report(1, 7, point, Phase.PREDICT)
    if decision is Decision.CANCEL:
        break
board.report(1, 7, point, Phase.LEFT)
"""


@pytest.fixture
def board() -> Iterator[StepBoard]:
    board = StepBoard.create(4)
    yield board
    board.close()


def test_a_new_board_says_nothing(board: StepBoard) -> None:
    assert board.decision(1, 0) is Decision.NONE
    assert board.entry(3, 1) is None
    progress = board.progress(0)
    assert (progress.serial, progress.points, progress.phase, progress.step, progress.total) == (
        0,
        0,
        Phase.IDLE,
        0,
        None,
    )


@given(serial=SERIALS, point=st.integers(0, 2**32 - 2), decision=st.sampled_from(list(Decision)[1:]))
def test_a_decision_is_for_its_run_and_point(serial: int, point: int, decision: Decision) -> None:
    board = StepBoard.create(1)
    board.decide(serial, point, decision)
    assert board.decision(serial, point) is decision
    assert board.decision(serial, point + 1) is Decision.NONE
    assert board.decision(serial + 1, point) is Decision.NONE
    assert board.decision(serial - 1, point) is Decision.NONE
    if point:
        assert board.decision(serial, point - 1) is Decision.GO
    board.close()


@given(serial=SERIALS, entry=st.integers(0, REFUSED_ENTRY))
def test_an_entry_is_for_its_rank_and_run(serial: int, entry: int) -> None:
    board = StepBoard.create(3)
    board.enter(1, serial, entry)
    assert board.entry(1, serial) == entry
    assert board.entry(1, serial + 1) is None
    assert board.entry(0, serial) is None and board.entry(2, serial) is None
    board.close()


def test_serials_may_run_beyond_their_24_bits(board: StepBoard) -> None:
    board.decide(2**24 + 5, 3, Decision.CANCEL)
    board.enter(0, 2**24 + 5, REFUSED_ENTRY)
    assert board.decision(2**24 + 5, 3) is Decision.CANCEL
    assert board.entry(0, 2**24 + 5) == REFUSED_ENTRY


def test_progress_is_each_ranks_own_and_beats(board: StepBoard) -> None:
    before = time.monotonic()
    for rank in range(4):
        board.report(rank, 2**23 + rank, 2**31 + rank, Phase(rank))
        board.report_step(rank, 10 + rank, None if rank == 0 else 20 + rank)
    for rank in range(4):
        progress = board.progress(rank)
        assert (progress.serial, progress.points, progress.phase) == (2**23 + rank, 2**31 + rank, Phase(rank))
        assert (progress.step, progress.total) == (10 + rank, None if rank == 0 else 20 + rank)
        assert before <= progress.heartbeat <= time.monotonic()


def test_two_processes_agree_on_every_point_of_one_board(board: StepBoard) -> None:
    os.set_inheritable(board.fd, True)
    with subprocess.Popen([sys.executable, "-c", FOLLOWER, str(board.fd)], pass_fds=[board.fd]) as follower:
        try:
            wait_until(lambda: board.entry(1, 7) == 12345, what="the follower's entry")
            for point in range(1, 1500):
                board.decide(7, point, Decision.GO)
            wait_until(lambda: board.progress(1).points == 1499, what="the follower at the last point")
            assert board.progress(1).phase is Phase.PREDICT
            board.decide(7, 1500, Decision.CANCEL)
            wait_until(lambda: board.progress(1).phase is Phase.LEFT, what="the follower's leaving")
            progress = board.progress(1)
            assert (progress.points, progress.step, progress.total) == (1500, 1500, 2000)
            assert follower.wait(timeout=30) == 0
        finally:
            follower.kill()


def test_a_closed_board_leaves_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    board = StepBoard.create(2)
    board.report(1, 1, 1, Phase.PREDICT)
    board.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_board_is_close_on_exec() -> None:
    board = StepBoard.create(1)
    assert not os.get_inheritable(board.fd)
    board.close()
