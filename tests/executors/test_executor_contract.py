"""What every executor does, on real ranks. docs/executors.md has the same in words."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from serving import COUNTING
from stage import PlayedGroup, Stage
from waiting import wait_until

from para_attn_server.core.errors import UsageError
from para_attn_server.core.job import Output
from para_attn_server.core.output import temporary_path
from para_attn_server.core.wire.launch import GroupWish
from para_attn_server.core.wire.ranks import (
    Cancel,
    Canceled,
    Finished,
    Log,
    Ping,
    Pong,
    Ready,
    SetupError,
    Started,
    Step,
    Stop,
)
from para_attn_server.core.wire.step_board import Phase
from para_attn_server.executors.base import ExecutorOptions
from para_attn_server.executors.open import open_executor

LEAVING = f"{Path(__file__).parents[1] / 'predictors' / 'leaving.py'}:LeavingPredictor"
TEXT = 'a NUL \0, a quote ", é, 星, \U0001f31f, \u2028 ' + "and much more " * 20000


@pytest.fixture(scope="module")
def group(stage: Stage) -> Iterator[PlayedGroup]:
    """One whose ranks are ready, for tests that leave it so."""
    played = stage.launch().wait_ready()
    yield played
    played.kill()


@pytest.fixture
def second(stage: Stage) -> Iterator[PlayedGroup]:
    """Another one, for a test that hurts it."""
    played = stage.launch(group=1).wait_ready()
    yield played
    played.kill()


def alive(pid: int | None) -> bool:
    assert pid is not None
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def descriptors() -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(fd.readlink()))
    return found


def test_ranks_come_up_and_say_that_they_are_ready(stage: Stage, group: PlayedGroup) -> None:
    assert stage.executor.ranks == [2, 2]
    assert group.order[0] == "launched"
    ready = {message.rank: message for message in group.said(Ready)}
    assert sorted(ready) == [0, 1] and ready[0].schema and ready[1].schema is None
    assert ready[0].output_suffix == ".txt" and "torch" in ready[0].versions


def test_messages_go_both_ways_and_the_steps_are_seen(group: PlayedGroup, tmp_path: Path) -> None:
    group.tell_all(Ping())
    assert {pong.rank for pong in group.wait_said(Pong, 2)} == {0, 1}
    serial = group.run(tmp_path / "a.txt", steps=7)
    finished = {message.rank: message for message in group.wait_said(Finished, 2, serial)}
    assert isinstance(finished[0].outputs[0], Output) and not finished[1].outputs
    assert finished[0].outputs[0].size > 0 and finished[0].connected
    assert group.said(Started, serial) == [Started(serial)]
    assert all(step.total == 7 for step in group.said(Step, serial))
    assert [line for log in group.said(Log, serial) for line in log.lines] == ["counted 7 steps"]
    for rank in (0, 1):
        seen = wait_until(lambda rank=rank: (p := group.progress(rank)).phase is Phase.LEFT and p, 5)
        assert (seen.serial, seen.step, seen.total, seen.points) == (serial, 7, 7, 8)


def test_arguments_arrive_as_they_were_sent(group: PlayedGroup, tmp_path: Path) -> None:
    serial = group.run(tmp_path / "a.txt", text=TEXT)
    group.wait_said(Finished, 2, serial)
    assert temporary_path(tmp_path / "a.txt", f"job{serial}").read_text().endswith(f" {TEXT}\n")


def test_rank_zero_is_told_to_cancel_and_both_leave_at_the_same_point(group: PlayedGroup, tmp_path: Path) -> None:
    serial = group.run(tmp_path / "a.txt", steps=100000, delay=0.002)
    wait_until(lambda: group.progress(1).serial == serial and group.progress(1).step >= 5, 30)
    group.tell(0, Cancel(serial))
    left = group.wait_said(Canceled, 2, serial)
    assert left[0].points == left[1].points > 5


def test_signs_of_life_are_new_moments_only(group: PlayedGroup, tmp_path: Path) -> None:
    serial = group.run(tmp_path / "a.txt", steps=3, delay=0.0, tail=1.0)
    wait_until(lambda: (seen := group.progress(0)).serial == serial and seen.step == 3, 30)
    seen = set[float]()
    while not group.said(Finished, serial) and group.progress(0).phase is not Phase.LEFT:
        seen.add(group.progress(0).heartbeat)
    assert 1 <= len(seen) <= 3, "a rank that is in no step shows no sign of life"
    assert wait_until(lambda: group.progress(0).heartbeat > min(seen), 5)


def test_stacks_are_printed_when_they_are_asked_for(group: PlayedGroup) -> None:
    assert group.ask(0, "stacks") == ""
    group.ask(0, "request_stacks")
    assert wait_until(lambda: "receive" in (text := group.ask(0, "stacks")) and text, 5)
    assert group.ask(1, "stacks") == ""


def test_a_stopped_rank_is_seen(group: PlayedGroup) -> None:
    pid = group.handles[1].pid or 0
    assert not group.ask(1, "stopped")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: group.ask(1, "stopped"), 5)
    assert not group.ask(0, "stopped")
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not group.ask(1, "stopped"), 5)


def test_a_killed_rank_is_reported_with_its_signal_and_nobody_else_is_hurt(
    stage: Stage, group: PlayedGroup, second: PlayedGroup, tmp_path: Path
) -> None:
    os.kill(second.handles[1].pid or 0, signal.SIGKILL)
    deaths = second.wait_dead(1)
    assert deaths.keys() == {1}
    death = deaths[1]
    assert (death.how, death.own_fault, death.signal) == ("was killed by SIGKILL", True, signal.SIGKILL)
    assert death.from_outside
    second.tell(1, Ping())  # dropped
    second.tell(0, Ping())
    assert [pong.rank for pong in second.wait_said(Pong, 1)] == [0]
    os.kill(second.handles[0].pid or 0, signal.SIGSTOP)
    assert second.kill()[0].how == "was killed by SIGKILL", "a stopped one can be killed"
    again = stage.launch(group=1).wait_ready()
    assert again.progress(0).serial == 0, "nothing of the launch before"
    serial, other = again.run(tmp_path / "a.txt"), group.run(tmp_path / "b.txt")
    again.wait_said(Finished, 2, serial)
    group.wait_said(Finished, 2, other)
    again.tell_all(Stop())
    deaths = again.wait_dead()
    assert {death.how for death in deaths.values()} == {"exited with status 0"}
    assert not any(death.from_outside for death in deaths.values())


def test_a_setup_that_fails_is_reported_before_its_ranks_end(stage: Stage) -> None:
    played = stage.launch(group=1, model=COUNTING.replace("CountingPredictor", "NoSuchPredictor"))
    played.wait_dead()
    errors = played.said(SetupError)
    assert {error.rank for error in errors} == {0, 1} and all("NoSuchPredictor" in error.message for error in errors)
    assert played.order.index("message 0") < played.order.index("died 0")


def test_kill_ends_the_ranks_and_their_helpers_and_nothing_of_a_launch_stays_in_this_process(
    stage: Stage, group: PlayedGroup, tmp_path: Path
) -> None:
    before = len(descriptors())
    played = stage.launch(group=1, model=LEAVING).wait_ready()
    played.run(tmp_path / "a.txt", how="session", note=str(tmp_path / "note"))
    note = wait_until(lambda: (tmp_path / "note").exists() and (tmp_path / "note").read_text(), 30)
    pids = [int(note), *(handle.pid or 0 for handle in played.handles)]
    assert all(map(alive, pids))
    deaths = played.kill()
    assert all(death.signal == signal.SIGKILL for death in deaths.values())
    wait_until(lambda: not any(map(alive, pids)), 10, "the helper to end")
    assert wait_until(lambda: len(descriptors()) <= before, 10, str(descriptors()))


@pytest.mark.slow
def test_a_launch_that_is_aborted_comes_to_one_end_and_the_next_one_works(stage: Stage) -> None:
    played = stage.launch(group=1)
    stage.call(stage.executor.abort_launch)
    wait_until(lambda: played.order, 60)
    if played.handles:
        assert not any(death.own_fault and not death.signal for death in played.kill().values())
    else:
        assert played.failure is not None and not played.failure[1], "no fault of the model's"
        assert played.order == ["launch_failed"]
    stage.launch(group=1).wait_ready().kill()


def test_an_executor_that_nobody_knows_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="agent or local"):
        open_executor("ray://head", ExecutorOptions("cpu", [GroupWish(2)], "", False))
