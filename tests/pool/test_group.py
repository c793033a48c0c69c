"""The group's state machine, driven step by step with a chosen clock; the ranks' part is played by the test."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from para_attn_server.core.clock import RunningClock
from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, JobStatus, Output, Result
from para_attn_server.core.output import prepare, seal, temporary_path
from para_attn_server.core.predictor import TEARDOWN_TIMEOUT
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.launch import GroupSpec, ModelSpec
from para_attn_server.core.wire.ranks import (
    Canceled,
    Failed,
    Finished,
    Ping,
    Pong,
    Ready,
    Settled,
    SetupError,
    Started,
    Step,
)
from para_attn_server.core.wire.step_board import Phase, Progress
from para_attn_server.executors.base import ExitInfo
from para_attn_server.pool.backoff import (
    BACKOFF_FIRST,
    BACKOFF_LAST,
    BROKEN_AFTER,
    KILLED_BACKOFF_LAST,
    KILLS_UNPAUSED,
    LOST_BROKEN_AFTER,
    LOST_UNPAUSED,
    MACHINERY_BACKOFF_LAST,
    MACHINERY_BROKEN_AFTER,
)
from para_attn_server.pool.group import Group
from para_attn_server.pool.monitor import STACKS_PATIENCE, Timeouts
from para_attn_server.pool.phases.launching import STOPPED_FOR
from para_attn_server.pool.phases.running import SETTLE_BARRIER
from para_attn_server.pool.phases.stopping import STOP_TIMEOUT
from para_attn_server.pool.phases.waiting import YOUNG
from para_attn_server.pool.ranks import NOTHING_DONE
from para_attn_server.pool.run import (
    CANCEL,
    EXPIRY,
    LEAVE_LEAST,
    SETTLE_LEAST,
    SETTLE_UNPACED,
    SHUTDOWN,
    StopOrder,
    timeout,
)
from para_attn_server.pool.watchdog import ENTRY_BUDGET

JOB = Job("j", 1, JobStatus.RUNNING, None, "/out/a.png", 0.0)
OUTPUT = Output("/out/a.png", "image/png", 3, "ab")
RANKS = 2
KILLED = ExitInfo("was killed by SIGKILL", signal=signal.SIGKILL)
CRASHED = ExitInfo("was killed by SIGSEGV", signal=signal.SIGSEGV)


class Handle:
    def __init__(self, pid: int) -> None:
        self.pid, self.sent, self.killed, self.is_stopped = pid, [], False, False
        self.pong: Callable[[], None] | None = None

    def send(self, message: Any) -> None:
        if isinstance(message, Ping):
            if self.pong:
                self.pong()
            return
        self.sent.append(type(message).__name__)

    def kill(self) -> None:
        self.killed = True

    def request_stacks(self) -> None:
        self.sent.append("stacks?")

    def stacks(self) -> str:
        return "File x.py"

    def stopped(self) -> bool:
        return self.is_stopped


class Steps:
    """A step channel on which a test says what is seen."""

    def __init__(self) -> None:
        self.seen: dict[int, Progress] = {}

    def progress(self, rank: int) -> Progress:
        return self.seen.get(rank, NOTHING_DONE)


class Script:
    """Executor, listener and clock in one: what the group did, and what happens to it."""

    def __init__(self, step_timeout: float = 30, setup: float = 0) -> None:
        self.now, self.setup = 100.0, setup
        self.clock = RunningClock(source=lambda: self.now)
        self.launches = self.aborted = 0
        self.steps = Steps()
        self.news: list[tuple[Any, ...]] = []
        self.handles: list[Handle] = []
        self.group = Group(
            GroupSpec(ModelSpec("m"), 0, RANKS, "info", "console"),
            self,
            self,
            Timeouts(setup=60, step=step_timeout, min_step=10, job=100, cancel=5),
            clock=self.clock,
        )
        self.group.start()

    def launch(self, generation: int, spec: GroupSpec, events: Any) -> None:
        self.launches += 1
        self.generation = generation

    def abort_launch(self) -> None:
        self.aborted += 1

    def close(self) -> None: ...

    def group_changed(self) -> None:
        assert not self.group.outbox.in_transition

    def __getattr__(self, name: str) -> Any:
        def hear(*args: Any) -> None:
            assert not self.group.outbox.in_transition, "a listener may give the group its next job at once"
            self.news.append((name, *args))

        if name.startswith(("run_", "group_", "setup_", "writing_")):
            return hear
        raise AttributeError(name)

    def launched(self) -> None:
        self.handles = [Handle(1000 * self.launches + rank) for rank in range(RANKS)]
        for rank, handle in enumerate(self.handles):
            handle.pong = partial(self.say, rank, Pong(rank))
        self.steps = Steps()
        self.group.launched(self.generation, list(self.handles), self.steps)

    def say(self, rank: int, message: Any) -> None:
        self.group.message(self.generation, rank, message)

    def ready(self, tears_down: bool = False) -> Script:
        self.launched()
        self.now += self.setup
        for rank in range(RANKS):
            self.say(rank, Ready(rank, "cpu", {} if rank == 0 else None, {}, ".png", tears_down))
        return self

    def busy(self) -> Script:
        return self.ready().busy_again()

    def busy_again(self) -> Script:
        self.group.assign(JOB, {})
        self.say(0, Started(self.group.run.serial))
        return self

    def die(self, *ranks: int, death: ExitInfo = KILLED) -> None:
        for rank in ranks:
            self.group.died(self.generation, rank, death)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.group.tick(self.clock())

    def heard(self, name: str) -> list[tuple[Any, ...]]:
        return [entry[1:] for entry in self.news if entry[0] == name]


def failed(rank: int, points: int = 3, kind: str = "ValueError") -> Failed:
    return Failed(1, rank, points, JobError(kind, "no", rank))


def ended(script: Script) -> list[Any]:
    """The first output of those that have succeeded."""
    outcomes = [outcome for _, outcome, _ in script.heard("run_ended")]
    return [outcome.outputs[0] if isinstance(outcome, Result) else outcome for outcome in outcomes]


def said(script: Script) -> list[tuple[int, str]]:
    return [(group, str(failure)) for group, failure in script.heard("setup_failed")]


def lost_causes(script: Script) -> list[str]:
    return [lost.error.message for _, lost in script.heard("run_lost")]


def test_it_is_ready_when_all_ranks_are() -> None:
    script = Script()
    script.launched()
    script.say(0, Ready(0, "cpu", {}, {}, ".png"))
    assert script.group.state == "starting"
    script.say(1, Ready(1, "cpu", None, {}, ".png"))
    assert script.group.state == "ready"


def test_a_job_ends_when_its_last_rank_has_left() -> None:
    script = Script().busy()
    script.say(0, Started(1))
    script.say(0, Finished(1, 0, 5, 0.1, (OUTPUT,)))
    assert script.group.state == "busy"
    assert not script.heard("run_ended")
    script.say(1, Finished(1, 1, 5, 0.1, ()))
    assert ended(script) == [OUTPUT]
    assert script.group.state == "ready"


def test_a_late_message_of_an_earlier_run_or_launch_is_dropped() -> None:
    script = Script().busy()
    script.say(0, Finished(7, 0, 5, 0.1, (OUTPUT,)))
    script.group.message(script.generation - 1, 0, Finished(1, 0, 5, 0.1, (OUTPUT,)))
    script.say(1, Finished(1, 1, 5, 0.1, ()))
    assert script.group.state == "busy"


def test_the_first_terminal_message_of_a_rank_counts() -> None:
    script = Script().busy()
    script.say(0, Canceled(1, 0, 2))
    script.say(0, Finished(1, 0, 2, 0.1, (OUTPUT,)))
    script.say(1, Canceled(1, 1, 2))
    assert ended(script) == [None]


def test_failures_at_the_same_point_are_settled_by_a_barrier_and_the_group_is_kept() -> None:
    script = Script().busy()
    script.say(0, failed(0))
    script.say(1, failed(1))
    assert [handle.sent[-1] for handle in script.handles] == ["Settle", "Settle"]
    script.say(0, Settled(1, 0))
    assert not script.heard("run_ended")
    script.say(1, Settled(1, 1))
    assert script.heard("run_ended")[0][1].type == "ValueError"
    assert (script.group.state, script.launches) == ("ready", 1)


def test_a_barrier_that_is_not_passed_rebuilds_the_group() -> None:
    script = Script().busy()
    script.say(0, failed(0))
    script.say(1, failed(1))
    script.say(0, Settled(1, 0))
    script.pass_time(SETTLE_BARRIER)
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert script.heard("run_ended")[0][1].type == "ValueError"
    assert script.launches == 2


def test_failures_at_different_points_rebuild_the_group_at_once() -> None:
    script = Script().busy()
    script.say(0, failed(0, points=3))
    script.say(1, failed(1, points=4))
    assert all(handle.killed for handle in script.handles)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_that_fails_alone_fails_the_job_with_its_cause_and_rebuilds_the_group(rank: int) -> None:
    script = Script().busy()
    script.say(rank, failed(rank))
    script.pass_time(SETTLE_UNPACED[0] / 2)
    assert not script.handles[0].killed
    script.pass_time(SETTLE_UNPACED[0] / 2)
    assert script.group.state == "recovering"
    assert f"rank {rank} failed while rank {1 - rank} stayed inside" in (script.group.view().cause or "")
    assert not script.heard("run_ended"), "not before every rank is dead"
    script.die(0, 1)
    assert [outcome.rank for outcome in ended(script)] == [rank]
    script.ready()
    assert (script.group.state, script.group.view().cause) == ("ready", None)


def assert_killed_after(script: Script, seconds: float) -> None:
    """The others have so long to leave, and no longer."""
    script.pass_time(seconds - 0.1)
    assert not script.handles[0].killed
    script.pass_time(0.2)
    assert script.handles[0].killed


@pytest.mark.parametrize(("setup", "timeout"), [(0.2, 1), (2, 2), (600, 3)])
def test_before_the_first_step_the_other_ranks_have_as_long_as_a_rebuild_would_take(
    setup: float, timeout: float
) -> None:
    script = Script(setup=setup).busy()
    script.say(0, failed(0))
    assert_killed_after(script, timeout)


def test_slow_steps_give_the_other_ranks_longer_to_leave() -> None:
    script = Script().busy()
    script.say(0, Step(1, 1, 9))
    script.now += 4
    script.say(0, Step(1, 2, 9))
    script.say(0, failed(0))
    assert_killed_after(script, 8)


@pytest.mark.parametrize(("seconds", "timeout"), [(0.01, SETTLE_LEAST), (4, 8)])
def test_a_first_step_alone_shows_the_pace(seconds: float, timeout: float) -> None:
    script = Script().busy()
    script.now += seconds
    script.say(0, Step(1, 1, 9))
    script.say(0, failed(0))
    assert_killed_after(script, timeout)


def test_a_dead_rank_loses_the_run_once_every_rank_is_dead() -> None:
    script = Script().busy()
    script.die(1)
    assert script.group.state == "recovering"
    assert script.handles[0].killed
    assert (script.launches, script.heard("run_lost")) == (1, [])
    script.die(0)
    assert lost_causes(script) == ["rank 1 was killed by SIGKILL"]
    assert script.launches == 2


def lose_a_run(script: Script) -> None:
    script.group.assign(JOB, {})
    script.die(1, death=CRASHED)
    script.die(0)


def test_runs_lost_in_a_row_hold_the_next_launch_back_longer_and_longer_until_a_job_is_done() -> None:
    script = Script().ready()
    for losses in range(1, LOST_BROKEN_AFTER):
        lose_a_run(script)
        pause = BACKOFF_FIRST * 2.0 ** (losses - LOST_UNPAUSED - 1) if losses > LOST_UNPAUSED else 0
        if pause:
            script.pass_time(pause - 0.01)
            assert (script.launches, script.group.state) == (losses, "recovering")
            script.pass_time(0.02)
        assert script.launches == losses + 1
        script.ready()
        assert script.group.state == "ready"
    lose_a_run(script)
    assert script.group.state == "broken"
    assert "rank 1 was killed" in (script.group.view().cause or "")
    script.pass_time(BACKOFF_LAST)
    script.ready().busy_again()
    for rank in range(RANKS):
        script.say(rank, Finished(script.group.run.serial, rank, 5, 0.1, (OUTPUT,) if rank == 0 else ()))
    launches = script.launches
    lose_a_run(script)
    assert script.launches == launches + 1


def test_outputs_that_were_published_before_the_group_was_lost_hold_nothing_back() -> None:
    script = Script().ready()
    for _ in range(LOST_UNPAUSED + 1):
        script.busy_again()
        script.say(0, Finished(script.group.run.serial, 0, 5, 0.1, (OUTPUT,)))
        script.die(1)
        script.die(0)
        script.ready()
    assert ended(script) == [OUTPUT] * (LOST_UNPAUSED + 1)


def test_a_rank_that_dies_after_rank_zero_published_costs_the_group_and_not_the_job() -> None:
    script = Script().busy()
    script.say(0, Finished(1, 0, 5, 0.1, (OUTPUT,)))
    script.die(1)
    script.die(0)
    assert ended(script) == [OUTPUT]
    assert script.launches == 2


def test_a_death_outweighs_the_failures_that_it_causes_in_its_peers() -> None:
    script = Script().busy()
    script.say(0, failed(0, kind="RuntimeError"))
    script.die(1)
    script.die(0)
    assert lost_causes(script) == ["rank 1 was killed by SIGKILL"]


def test_cancel_goes_to_rank_zero_once() -> None:
    script = Script().busy()
    script.group.stop_run(CANCEL)
    script.group.stop_run(CANCEL)
    assert script.handles[0].sent == ["Run", "Cancel"]
    assert script.handles[1].sent == ["Run"]


@pytest.mark.parametrize("order", [CANCEL, EXPIRY, timeout(5, 2)], ids=lambda order: order.reason)
def test_of_several_orders_to_stop_the_first_says_what_the_job_comes_to(order: StopOrder) -> None:
    script = Script().busy()
    for each in (order, CANCEL, EXPIRY):
        script.group.stop_run(each)
    assert script.handles[0].sent == ["Run", "Cancel"]
    for rank in range(RANKS):
        script.say(rank, Canceled(1, rank, 3))
    assert ended(script) == [order.outcome] and script.launches == 1


@pytest.mark.parametrize("before", [None, CANCEL, EXPIRY], ids=str)
def test_the_end_of_the_server_stops_a_run_at_once_and_is_not_charged(before: StopOrder | None) -> None:
    script = Script().busy()
    if before is not None:
        script.group.stop_run(before)
    script.group.stop()
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert script.heard("run_lost") == [("j", SHUTDOWN.outcome)] and script.group.stopped


def test_a_cancel_that_is_not_followed_in_time_rebuilds_the_group() -> None:
    script = Script().busy()
    script.group.stop_run(CANCEL)
    script.pass_time(5)
    script.die(0, 1)
    assert ended(script) == [None]
    assert script.launches == 2


def test_a_failed_setup_backs_off_longer_each_time_until_broken_and_goes_on_trying() -> None:
    script = Script()
    for attempt in range(1, BROKEN_AFTER + 1):
        assert script.launches == attempt
        script.launched()
        script.say(1, SetupError(1, "RuntimeError: no weights", "trace"))
        script.die(0, 1)
        assert said(script)[-1] == (0, "setup failed on rank 1: RuntimeError: no weights")
        backoff = 60 if attempt == BROKEN_AFTER else BACKOFF_FIRST * 2 ** (attempt - 1)
        script.pass_time(backoff - 0.01)
        assert script.launches == attempt
        script.pass_time(0.01)
    assert (script.group.state, script.launches) == ("broken", BROKEN_AFTER + 1)
    script.ready()
    assert script.group.state == "ready"


def test_a_setup_that_takes_too_long_names_the_slow_rank() -> None:
    script = Script()
    script.launched()
    script.say(0, Ready(0, "cpu", {}, {}, ".png"))
    script.pass_time(60)
    script.die(0, 1)
    assert "rank 1: not done within 60 s" in said(script)[0][1]


def test_a_rank_that_is_stopped_in_its_setup_is_found_and_the_next_launch_is_at_once() -> None:
    script = Script()
    script.launched()
    script.pass_time(STOPPED_FOR - 1)
    script.handles[1].is_stopped = True
    script.pass_time(1)
    script.handles[1].is_stopped = False  # for a moment, as a debugger does
    for _ in range(3):
        script.pass_time(1)
    script.handles[1].is_stopped = True
    for _ in range(int(STOPPED_FOR) + 1):
        assert not script.handles[0].killed
        script.pass_time(1)
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert script.launches == 2 and not said(script), "nobody is to blame"


def test_stop_lets_idle_ranks_leave_and_kills_them_if_they_do_not() -> None:
    script = Script().ready()
    script.group.stop()
    assert [handle.sent for handle in script.handles] == [["Stop"], ["Stop"]]
    script.die(0, death=ExitInfo("exited with status 0"))
    assert not script.group.stopped
    script.pass_time(STOP_TIMEOUT)
    assert script.handles[1].killed
    script.die(1)
    assert script.group.stopped
    assert script.launches == 1


def test_ranks_that_tear_down_have_longer_to_leave_and_a_second_stop_kills_them() -> None:
    script = Script().ready(tears_down=True)
    script.group.stop()
    script.pass_time(STOP_TIMEOUT + TEARDOWN_TIMEOUT - 0.1)
    assert not any(handle.killed for handle in script.handles)
    script.group.stop()
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert script.group.stopped


def test_a_rebuild_starts_other_ranks_and_gives_a_running_job_back_uncharged() -> None:
    script = Script().busy()
    script.group.rebuild("the code has changed")
    script.die(0, 1)
    assert (lost_causes(script), script.launches) == (["the code has changed"], 2)
    script.ready().group.rebuild("again")
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    script.launched()
    script.group.rebuild("in the setup")
    script.die(0, 1)
    assert script.launches == 4


def test_a_rebuild_ends_the_rest_after_a_failed_setup() -> None:
    script = Script()
    script.launched()
    script.say(0, SetupError(0, "SyntaxError", ""))
    script.die(0, 1)
    assert script.launches == 1
    script.group.rebuild("the code has changed")
    assert script.launches == 2


def test_stop_kills_a_busy_group_and_gives_its_job_back() -> None:
    script = Script().busy()
    script.group.stop()
    script.die(0, 1)
    assert lost_causes(script) == ["the server stops"]
    assert script.group.stopped


def test_stop_while_ranks_are_being_launched_kills_them_when_they_come() -> None:
    script = Script()
    script.group.stop()
    assert script.aborted == 1, "it may take minutes by itself"
    assert not script.group.stopped
    script.launched()
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert script.group.stopped


def test_a_run_without_a_sign_of_life_is_stuck_and_the_stopped_rank_is_named() -> None:
    script = Script().busy()
    script.handles[1].is_stopped = True
    script.pass_time(29)
    assert "stacks?" not in script.handles[0].sent
    script.pass_time(2)
    assert [handle.sent[-1] for handle in script.handles] == ["stacks?", "stacks?"]
    assert not script.handles[0].killed
    script.pass_time(STACKS_PATIENCE)
    script.die(0, 1)
    ((_, lost),) = script.heard("run_lost")
    error = lost.error
    assert (error.type, error.rank) == ("hang", 1)
    assert "rank 1 holds the others up (its process is stopped)" in error.message
    assert script.launches == 2


def test_a_job_over_its_time_is_canceled_and_fails() -> None:
    script = Script(step_timeout=1000).busy()
    script.pass_time(99)
    assert script.handles[0].sent == ["Run"]
    script.pass_time(1)
    assert script.handles[0].sent == ["Run", "Cancel"]
    script.say(0, Canceled(1, 0, 2))
    script.say(1, Canceled(1, 1, 2))
    assert script.heard("run_ended")[0][1].type == "timeout"


@pytest.mark.parametrize("own_fault", [True, False])
def test_only_a_death_of_the_ranks_own_is_charged_to_the_job(own_fault: bool) -> None:
    script = Script().busy()
    script.die(0, 1, death=ExitInfo("ended", own_fault))
    assert [lost.charge for _, lost in script.heard("run_lost")] == [own_fault]


def test_setups_cut_short_by_the_servers_own_machinery_are_tried_sooner_and_more_often() -> None:
    script = Script()
    for attempt in range(1, MACHINERY_BROKEN_AFTER):
        assert script.launches == attempt
        script.launched()
        script.die(0, 1, death=ExitInfo("ended with the forkserver", own_fault=False))
        assert script.group.state == "recovering"
        script.pass_time(MACHINERY_BACKOFF_LAST)
    assert script.heard("setup_failed") == []
    script.group.launch_failed(script.generation, "EOFError", own_fault=False)
    assert script.group.state == "broken"
    assert len(script.heard("setup_failed")) == 1


def test_a_group_that_dies_soon_after_each_setup_is_held_back_and_then_broken() -> None:
    script = Script()
    for _ in range(BROKEN_AFTER):
        script.ready()
        script.die(0, death=CRASHED)
        assert script.handles[1].killed
        script.die(1)
        script.pass_time(60)
    assert script.group.state == "broken"
    script.ready().pass_time(YOUNG)
    launches = script.launches
    script.die(0, 1)
    assert script.launches == launches + 1, "one that has lived for a while is rebuilt at once"


def test_a_rank_that_dies_after_it_told_of_its_failure_leaves_the_cause_as_it_was() -> None:
    script = Script().busy()
    script.say(1, failed(1))
    script.die(1, 0)
    assert [outcome.type for outcome in ended(script)] == ["ValueError"]
    assert script.heard("run_lost") == []


def test_an_output_that_was_published_before_the_end_of_a_killed_group_counts() -> None:
    script = Script().busy()
    script.die(1)
    script.say(0, Finished(1, 0, 5, 0.1, (OUTPUT,)))
    script.die(0)
    assert ended(script) == [OUTPUT]


def test_a_rank_that_never_enters_the_run_is_found_soon() -> None:
    script = Script(step_timeout=1000).ready()
    script.group.assign(JOB, {})
    script.handles[1].is_stopped = True
    script.pass_time(ENTRY_BUDGET + 0.1)
    script.pass_time(STACKS_PATIENCE)
    assert "rank 1 holds the others up" in (script.group.view().cause or "")


def test_ranks_that_cannot_be_launched_are_tried_again() -> None:
    script = Script()
    script.group.launch_failed(script.generation, "no file descriptors", own_fault=False)
    assert script.group.state == "recovering"
    script.pass_time(MACHINERY_BACKOFF_LAST)
    assert script.launches == 2


def test_a_failure_that_was_told_is_not_taken_for_a_hang_while_the_others_leave() -> None:
    script = Script(step_timeout=1).busy()
    script.say(0, failed(0))
    script.pass_time(1.5)
    assert "stacks?" not in script.handles[0].sent
    script.pass_time(SETTLE_UNPACED[1])
    script.die(0, 1)
    assert [outcome.type for outcome in ended(script)] == ["ValueError"]


def test_a_barrier_that_is_told_of_after_the_kill_frees_no_group() -> None:
    script = Script().busy()
    for rank in range(RANKS):
        script.say(rank, failed(rank))
    script.say(1, Settled(1, 1))
    script.die(1)
    script.say(0, Settled(1, 0))  # was in rank zero's pipe when it was killed
    assert script.group.state == "recovering"
    script.die(0)
    assert len(ended(script)) == 1


def test_the_death_of_an_only_rank_in_setup_is_held_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.RANKS", 1)
    script = Script()
    script.launched()
    script.die(0, death=CRASHED)
    assert script.launches == 1
    script.pass_time(BACKOFF_FIRST)
    assert script.launches == 2


def test_a_transient_error_of_a_canceled_job_leaves_it_to_be_canceled() -> None:
    script = Script().busy()
    script.group.stop_run(CANCEL)
    for rank in range(RANKS):
        script.say(rank, Failed(1, rank, 3, JobError("Broke", "no", rank), transient=True))
    for rank in range(RANKS):
        script.say(rank, Settled(1, rank))
    assert lost_causes(script) == ["no"]  # the pool cancels what was asked to be canceled


def test_a_launch_that_hangs_is_told_as_what_it_is() -> None:
    class Hanging(Script):
        def abort_launch(self) -> None:
            self.group.launch_failed(self.generation, "EOFError", own_fault=False)

    script = Hanging()
    script.pass_time(61)
    assert said(script) == [(0, "setup failed on rank 0: not done within 60 s")]


def in_setup(script: Script) -> None:
    script.launched()


def in_backoff(script: Script) -> None:
    script.launched()
    for _ in range(BROKEN_AFTER - 1):
        script.die(0, 1, death=ExitInfo("exited with status 1"))
        script.pass_time(BACKOFF_LAST)
        script.launched()
    script.die(0, 1, death=ExitInfo("exited with status 1"))


def before_predict(script: Script) -> None:
    script.ready()
    script.group.assign(JOB, {})


def in_predict(script: Script) -> None:
    script.busy()


def canceled(script: Script) -> None:
    script.busy()
    script.group.stop_run(CANCEL)


def settling(script: Script) -> None:
    script.busy()
    script.say(0, failed(0))


def at_the_barrier(script: Script) -> None:
    script.busy()
    for rank in range(RANKS):
        script.say(rank, failed(rank))


def stopping(script: Script) -> None:
    script.ready()
    script.group.stop()


@pytest.mark.parametrize(
    "phase",
    [in_setup, in_backoff, before_predict, in_predict, canceled, settling, at_the_barrier, stopping],
)
def test_a_pause_of_the_machine_moves_every_deadline_by_as_much(
    phase: Callable[[Script], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_something_happens(pause: float) -> float:
        script = Script(step_timeout=20)
        phase(script)
        script.clock = RunningClock(0.1, lambda: script.now)
        monkeypatch.setattr(script.group, "clock", script.clock)
        before, begun = trace(script), script.now
        script.pass_time(0.1)
        script.pass_time(pause)
        while trace(script) == before:
            script.pass_time(0.1)
        return script.now - begun

    assert until_something_happens(5000.0) == pytest.approx(5000 - 0.1 + until_something_happens(0.1), abs=0.15)


def trace(script: Script) -> object:
    """What a group has done that can be seen."""
    sent = [(list(handle.sent), handle.killed) for handle in script.handles]
    return script.launches, script.group.state, sent, len(script.news)


def test_an_output_that_is_still_being_written_is_a_sign_of_life(tmp_path: Path) -> None:
    script = Script(step_timeout=4).ready()
    script.group.assign(replace(JOB, output_path=str(tmp_path / "a.mp4")), {})
    script.say(0, Started(script.group.run.serial))
    prepare(tmp_path / "a.mp4", JOB.id)
    part = temporary_path(tmp_path / "a.mp4", JOB.id)
    for written in range(20):
        part.write_bytes(b"x" * written)
        for _ in range(18):
            script.pass_time(0.2)
    assert "stacks?" not in script.handles[0].sent
    for _ in range(4):
        script.pass_time(0.2)
    assert script.handles[0].sent[-1] == "stacks?"


def test_a_part_that_is_not_written_to_any_more_is_not_a_sign_of_life(tmp_path: Path) -> None:
    script = Script(step_timeout=4).ready()
    script.group.assign(replace(JOB, output_path=str(tmp_path / "a.mp4")), {})
    script.say(0, Started(script.group.run.serial))
    prepare(tmp_path / "a.mp4", JOB.id)
    part = temporary_path(tmp_path / "a.mp4", JOB.id)
    part.write_bytes(b"x")
    for _ in range(22):
        script.pass_time(0.2)
    assert script.handles[0].sent[-1] == "stacks?"


def test_a_clients_deadline_passes_while_the_machine_is_paused() -> None:
    script = Script(step_timeout=1000).ready()
    script.group.assign(replace(JOB, deadline=steady() + 1000), {})
    script.pass_time(9)
    assert script.handles[0].sent == ["Run"]
    script.group.run.expires = steady()
    script.pass_time(0)
    assert script.handles[0].sent == ["Run", "Cancel"]


def pass_seconds(script: Script, seconds: int) -> None:
    for _ in range(seconds):
        script.pass_time(1)


def test_an_idle_rank_that_answers_no_ping_is_found_within_ten_seconds_and_uncharged() -> None:
    script = Script().ready()
    pass_seconds(script, 100)
    assert script.group.state == "ready"
    script.handles[1].pong = None  # stopped
    script.pass_time(0.1)
    pass_seconds(script, 5)
    assert script.group.state == "ready", "a moment of load is no stop"
    pass_seconds(script, 5)
    assert script.group.state == "recovering" and script.group.cause == "idle rank 1 showed no sign of life"
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert script.launches == 2, "at once"
    assert not script.heard("run_lost") and not script.heard("setup_failed")
    script.ready()
    pass_seconds(script, 20)
    assert script.group.state == "ready"


def test_no_rank_is_pinged_while_it_runs_and_a_long_run_is_no_silence() -> None:
    script = Script(step_timeout=1000).busy()
    for handle in script.handles:
        handle.pong = None
    pass_seconds(script, 60)
    assert script.group.state == "busy"
    for rank, handle in enumerate(script.handles):
        handle.pong = partial(script.say, rank, Pong(rank))
        script.say(rank, Finished(1, rank, 3, 1.0, (OUTPUT,) if rank == 0 else ()))
    pass_seconds(script, 20)
    assert script.group.state == "ready"


def kill_idle(script: Script, death: ExitInfo) -> None:
    script.ready()
    script.die(0, death=death)
    script.die(1)


def kill_in_setup(script: Script, death: ExitInfo) -> None:
    script.launched()
    script.die(1, death=death)
    script.die(0)


def kill_busy(script: Script, death: ExitInfo) -> None:
    script.busy()
    script.die(0, death=death)
    script.die(1)


def fail_launch(script: Script, death: ExitInfo) -> None:
    script.group.launch_failed(script.generation, "EOFError", own_fault=False, from_outside=death.from_outside)


@pytest.mark.parametrize("strike", [kill_idle, kill_in_setup, kill_busy, fail_launch])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("own_fault", [True, False], ids=["rank", "forkserver"])
def test_ranks_killed_from_outside_are_relaunched_at_once_and_never_make_the_group_broken(
    strike: Callable[[Script, ExitInfo], None], number: signal.Signals, own_fault: bool
) -> None:
    script = Script()
    for kills in range(1, 30):
        assert script.launches == kills
        strike(script, ExitInfo("was killed", own_fault, signal=number))
        assert script.group.state != "broken"
        if kills > KILLS_UNPAUSED:
            assert script.launches == kills
            script.pass_time(min(KILLED_BACKOFF_LAST, BACKOFF_FIRST * 2 ** (kills - KILLS_UNPAUSED - 1)))


@pytest.mark.parametrize(
    "death",
    [
        CRASHED,
        ExitInfo("was killed by SIGABRT", signal=signal.SIGABRT),
        ExitInfo("exited with status 1"),
        ExitInfo("was killed by the kernel's out-of-memory killer", signal=signal.SIGKILL, oom=True),
    ],
    ids=["segv", "abrt", "exit", "oom"],
)
def test_ranks_that_die_by_a_fault_of_their_own_after_setup_back_off_until_broken(death: ExitInfo) -> None:
    script = Script()
    for deaths in range(1, BROKEN_AFTER):
        kill_idle(script, death)
        assert (script.launches, script.group.state) == (deaths, "recovering")
        script.pass_time(BACKOFF_LAST)
    kill_idle(script, death)
    assert script.group.state == "broken"


@pytest.mark.parametrize(("pace", "timeout"), [(0.01, LEAVE_LEAST), (4, 8), (400, 30)])
def test_once_the_output_is_published_the_other_ranks_have_seconds_to_leave(pace: float, timeout: float) -> None:
    script = Script(step_timeout=30).busy()
    script.now += pace
    script.say(0, Step(1, 1, 9))
    script.say(0, Finished(1, 0, 5, 0.1, (OUTPUT,)))
    script.pass_time(timeout - 0.1)
    assert "stacks?" not in script.handles[1].sent
    script.pass_time(0.1)
    assert script.handles[1].sent[-1] == "stacks?"
    script.pass_time(STACKS_PATIENCE)
    assert "rank 1 stayed inside the run after rank 0 had published" in (script.group.view().cause or "")
    script.die(0, 1)
    assert ended(script) == [OUTPUT]
    assert script.launches == 2


def test_a_follower_that_leaves_while_its_stacks_are_asked_for_keeps_the_group() -> None:
    script = Script().busy()
    script.say(0, Finished(1, 0, 5, 0.1, (OUTPUT,)))
    script.pass_time(LEAVE_LEAST)
    script.say(1, Finished(1, 1, 5, 0.1, ()))
    script.pass_time(STACKS_PATIENCE)
    assert (ended(script), script.group.state, script.launches) == ([OUTPUT], "ready", 1)


def fail_a_run(script: Script, seed: int, kind: str = "ValueError") -> None:
    """One that all ranks leave alike, and settle."""
    script.group.assign(JOB, {"seed": seed})
    serial = script.group.run.serial
    for rank in range(RANKS):
        script.say(rank, Failed(serial, rank, 3, JobError(kind, "no", rank)))
    for rank in range(RANKS):
        script.say(rank, Settled(serial, rank))


def test_a_group_whose_different_jobs_fail_in_a_row_is_rebuilt_once_and_no_job_is_charged() -> None:
    script = Script().ready()
    for seed in range(100):
        script.now += 0.5
        fail_a_run(script, seed)
        if script.handles[0].killed:
            assert "different jobs failed one after the other" in (script.group.view().cause or "")
            script.die(0, 1)
            script.ready()
    assert script.launches == 2
    assert [outcome.type for outcome in ended(script)] == ["ValueError"] * 100
    assert script.heard("run_lost") == []


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("ending", ["finished", "canceled", "failed"])
def test_a_group_that_has_lost_its_process_group_is_rebuilt_whatever_became_of_the_job(ending: str, rank: int) -> None:
    script = Script().busy()
    for each in range(RANKS):
        if ending == "failed":
            script.say(each, failed(each))
        elif ending == "canceled":
            script.say(each, Canceled(1, each, 3, connected=each != rank))
        else:
            script.say(each, Finished(1, each, 3, 0.1, () if each else (OUTPUT,), connected=each != rank))
    if ending == "failed":
        assert not script.handles[0].killed
        script.say(rank, Settled(1, rank, connected=False))
    assert f"gone on rank {rank}" in (script.group.view().cause or "")
    assert script.group.state == "recovering"
    script.die(0, 1)
    (outcome,) = ended(script)
    assert {"finished": OUTPUT, "canceled": None}.get(ending, outcome) == outcome
    assert script.launches == 2


def test_hashing_a_large_output_from_a_slow_disk_is_a_sign_of_life(tmp_path: Path) -> None:
    script = Script(step_timeout=4).ready()
    script.group.assign(replace(JOB, output_path=str(tmp_path / "a.mp4")), {})
    script.say(0, Started(1))
    prepare(tmp_path / "a.mp4", JOB.id)
    temporary_path(tmp_path / "a.mp4", JOB.id).write_bytes(bytes(6 * 2**20))

    def on_block() -> None:  # as StepControl.alive
        script.pass_time(3)
        script.steps.seen[0] = Progress(1, 7, Phase.PREDICT, script.now, 0, None)
        script.pass_time(0.1)

    script.say(0, Finished(1, 0, 7, 0.1, (seal(tmp_path / "a.mp4", JOB.id, on_block),)))
    script.say(1, Finished(1, 1, 7, 0.1, ()))
    assert [outcome.size for outcome in ended(script)] == [6 * 2**20]
    assert script.now > 118
    assert "stacks?" not in script.handles[0].sent


@pytest.mark.parametrize("pause", [0.0, 7200.0])
@pytest.mark.parametrize("how", ["all", "one", "dies", "hangs"])
def test_what_fails_after_a_pause_of_the_machine_is_tried_again_and_not_charged(
    how: str, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(step_timeout=20).ready()
    script.clock = RunningClock(0.1, lambda: script.now)
    monkeypatch.setattr(script.group, "clock", script.clock)
    script.busy_again()
    script.pass_time(pause)
    match how:
        case "all":
            for rank in range(RANKS):
                script.say(rank, failed(rank))
            for rank in range(RANKS):
                script.say(rank, Settled(1, rank))
        case "one":
            script.say(0, failed(0))
        case "dies":
            script.die(1, death=CRASHED)
    for _ in range(250):
        script.pass_time(0.1)
    script.die(0, 1)
    if pause:
        ((_, lost),) = script.heard("run_lost")
        assert (lost.charge, ended(script)) == (False, [])
    else:
        assert [outcome.type for outcome in ended(script)] == ["ValueError"] * (how in ("all", "one"))
        assert [lost.charge for _, lost in script.heard("run_lost")] == [True] * (how in ("dies", "hangs"))


def test_an_argument_that_is_refused_after_a_pause_is_refused() -> None:
    script = Script().ready()
    script.busy_again()
    script.clock.long_pauses += 1
    for rank in range(RANKS):
        script.say(rank, failed(rank, kind="invalid_input"))
    for rank in range(RANKS):
        script.say(rank, Settled(1, rank))
    assert [outcome.type for outcome in ended(script)] == ["invalid_input"]


def test_ranks_killed_in_the_first_setup_are_relaunched_and_reported_at_the_fourth_time() -> None:
    script = Script()
    for _ in range(KILLS_UNPAUSED):
        kill_in_setup(script, KILLED)
        assert (said(script), script.group.state) == ([], "starting")
    kill_in_setup(script, KILLED)
    assert said(script) == [(0, "setup failed on rank 1: rank 1 was killed by SIGKILL during setup")]
