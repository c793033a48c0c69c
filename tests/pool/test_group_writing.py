"""What a group still writes of runs that are over; the ranks' part is played by the test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_group import CRASHED, JOB, KILLED, OUTPUT, RANKS, Script, ended, failed

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, Result
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.ranks import Canceled, Finished, Settled, Step, Unwritten, Written
from para_attn_server.core.wire.step_board import Phase, Progress
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.run import CANCEL, EXPIRY, LEAVE_LEAST, WRITING_LOST, Lost
from para_attn_server.pool.writing import MOST_BYTES, MOST_JOBS

MIB = 2**20


def job(name: str, **fields: Any) -> Job:
    return replace(JOB, id=name, output_path=f"/out/{name}.png", **fields)


def leave(script: Script, held: int | None = MIB, connected: bool = True) -> int:
    """All ranks have left the run, whose output is still to be written; its serial."""
    serial: int = script.group.run.serial
    for rank in range(RANKS):
        script.say(rank, Finished(serial, rank, 3, 1.0, (), connected, held=None if rank else held))
    return serial


def writing(script: Script, name: str = "j", held: int = MIB, alone: bool = False, **fields: Any) -> int:
    """The group does that job, and writes its output."""
    script.group.assign(job(name, **fields), {}, None, alone)
    return leave(script, held)


def write(script: Script, serial: int) -> None:
    script.say(0, Written(serial, (OUTPUT,), 2.5))


def lost(script: Script) -> list[tuple[str, bool]]:
    """Jobs whose writing was lost, and whether that is charged to them."""
    return [(name, how.charge) for name, how in script.heard("writing_lost")]


def test_the_group_is_free_while_an_output_is_written() -> None:
    script = Script().ready()
    serial = writing(script)
    assert (script.group.state, script.group.run) == (GroupState.READY, None)
    assert script.heard("run_writing") == [("j",)] and not script.heard("run_ended")
    assert script.group.view().writing == ["j"]
    script.group.assign(job("next"), {})
    write(script, serial)
    ((name, outcome, _),) = script.heard("run_ended")
    assert (name, outcome.outputs, outcome.timings["write"]) == ("j", (OUTPUT,), 2.5)
    assert script.group.run.job_id == "next" and script.group.view().writing == []


def test_an_output_that_is_written_before_the_last_rank_has_left_needs_no_phase() -> None:
    script = Script().busy()
    script.say(0, Finished(1, 0, 3, 1.0, (), held=MIB))
    script.say(0, Written(1, (OUTPUT,), 0.1))
    assert not ended(script)
    script.say(1, Finished(1, 1, 3, 1.0, ()))
    assert ended(script) == [OUTPUT] and not script.heard("run_writing")


def test_a_rank_that_stays_inside_is_waited_for_from_the_output_on() -> None:
    script = Script().busy()
    script.say(0, Finished(1, 0, 3, 1.0, (), held=MIB))
    script.pass_time(2 * LEAVE_LEAST)
    script.pass_time(1.0)
    assert script.launches == 1 and not any(handle.killed for handle in script.handles)
    script.say(0, Written(1, (OUTPUT,), 5.0))
    script.pass_time(LEAVE_LEAST + 0.1)
    script.pass_time(1.0)
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert ended(script) == [OUTPUT]


@pytest.mark.parametrize("held", [1, MOST_BYTES])
def test_a_group_that_holds_enough_waits(held: int) -> None:
    script = Script().ready()
    serials = [writing(script, str(number), held) for number in range(MOST_JOBS if held == 1 else 1)]
    assert script.group.state is GroupState.BUSY
    write(script, serials[0])
    assert script.group.state is GroupState.READY
    assert script.news.index(("group_free", 0)) > [entry[0] for entry in script.news].index("run_ended")


def test_a_suspect_is_written_alone() -> None:
    script = Script().ready()
    serial = writing(script, alone=True)
    assert script.group.state is GroupState.BUSY
    write(script, serial)
    assert script.group.state is GroupState.READY


def test_what_cannot_be_written_costs_its_job_alone() -> None:
    script = Script().ready()
    serial = writing(script)
    script.group.assign(job("next"), {})
    error = JobError("output_invalid", "no picture", 0)
    script.say(0, Unwritten(serial, error, "Traceback"))
    assert script.heard("run_ended")[0][:2] == ("j", error)
    assert script.heard("run_failed")[0][1].traceback == "Traceback"
    assert script.group.run.job_id == "next" and not any(handle.killed for handle in script.handles)


def test_a_cancel_ends_the_job_at_once_and_its_place_when_rank_zero_lets_go() -> None:
    script = Script().ready()
    first, second = writing(script, "a"), writing(script, "b")
    script.group.stop_writing("a", CANCEL)
    assert script.heard("run_ended")[0][:2] == ("a", None)
    assert script.handles[0].sent[-1] == "StopWriting" and "StopWriting" not in script.handles[1].sent
    assert script.group.state is GroupState.BUSY, "its memory is not free yet"
    write(script, first)
    assert len(script.heard("run_ended")) == 1 and script.group.state is GroupState.READY
    write(script, second)
    assert [name for name, _, _ in script.heard("run_ended")] == ["a", "b"]


def test_a_cancel_that_meets_the_end_of_its_run_counts() -> None:
    script = Script().busy()
    script.group.stop_run(CANCEL)
    leave(script)
    assert ended(script) == [None] and not script.heard("run_writing")
    assert script.handles[0].sent[-1] == "StopWriting"
    script.say(0, Unwritten(1))
    assert ended(script) == [None] and script.group.state is GroupState.READY


def test_deadlines_count_while_an_output_is_written() -> None:
    script = Script(step_timeout=1000).ready()
    writing(script, "late", deadline=steady() - 1.0)
    script.pass_time(0.1)
    assert ended(script) == [EXPIRY.outcome]
    script.say(0, Unwritten(1))
    writing(script, "long")
    script.pass_time(101)
    assert ended(script)[1].type == "timeout" and "longer than 100 s" in ended(script)[1].message
    assert not any(handle.killed for handle in script.handles)


def test_an_encoder_without_a_sign_of_life_costs_its_job_alone(tmp_path: Path) -> None:
    script = Script(step_timeout=5).ready()
    script.group.assign(replace(JOB, output_path=str(tmp_path / "a.png")), {})
    part = script.group.run.part
    part.parent.mkdir()
    leave(script)
    for size in range(1, 8):
        part.write_bytes(bytes(size))
        script.pass_time(4)
    assert not ended(script)
    script.pass_time(4)
    script.pass_time(1.1)
    (error,) = ended(script)
    assert (error.type, error.rank) == ("hang", 0) and "no progress for 5.1 s" in error.message
    assert script.group.state is GroupState.READY
    assert not any(handle.killed for handle in script.handles)


def test_a_group_full_of_encoders_that_do_not_stop_is_rebuilt_for_nobodys_account() -> None:
    script = Script(step_timeout=5).ready()
    for number in range(MOST_JOBS):
        writing(script, str(number))
    script.pass_time(5.1)
    assert [error.type for error in ended(script)] == ["hang"] * MOST_JOBS
    script.pass_time(4.9)
    assert script.group.state is GroupState.BUSY and not script.handles[0].killed
    script.pass_time(0.2)
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert script.launches == 2 and not lost(script)
    assert script.ready().group.state is GroupState.READY


def test_a_death_while_an_output_is_written_is_charged_to_its_job() -> None:
    script = Script().ready()
    writing(script)
    script.die(0, death=CRASHED)
    assert not lost(script), "not before the last rank is dead"
    script.die(1)
    assert lost(script) == [("j", True)]
    assert not script.heard("setup_failed") and script.launches == 2, "it is no failed setup, however young it was"


def test_a_death_while_another_job_runs_is_charged_to_that() -> None:
    script = Script().ready()
    writing(script)
    script.group.assign(job("next"), {})
    script.die(1, 0, death=CRASHED)
    assert lost(script) == [("j", False)]
    assert [(name, how.charge) for name, how in script.heard("run_lost")] == [("next", True)]


def test_an_output_that_is_written_before_the_last_rank_is_dead_counts() -> None:
    script = Script().ready()
    serial = writing(script)
    script.group.assign(job("next"), {})
    script.die(1, death=KILLED)
    write(script, serial)
    script.die(0)
    assert ended(script) == [OUTPUT] and not lost(script)


def test_a_run_whose_group_dies_before_its_output_is_written_is_an_attempt() -> None:
    script = Script().busy()
    script.say(0, Finished(1, 0, 3, 1.0, (), held=MIB))
    script.die(1, 0)
    assert [(name, how.charge) for name, how in script.heard("run_lost")] == [("j", True)]


@pytest.mark.parametrize("order", ["rebuild", "stop"])
def test_what_the_server_itself_ends_is_not_charged(order: str) -> None:
    script = Script().ready()
    writing(script)
    script.group.rebuild("the predictor has changed") if order == "rebuild" else script.group.stop()
    script.die(0, 1)
    assert lost(script) == [("j", False)]
    assert script.group.stopped == (order == "stop")


def test_a_damaged_group_is_rebuilt_once_the_output_is_written() -> None:
    script = Script().busy()
    serial = leave(script, connected=False)
    assert script.group.state is GroupState.BUSY and not script.handles[0].killed
    write(script, serial)
    assert ended(script) == [OUTPUT]
    assert all(handle.killed for handle in script.handles)


def test_a_failure_after_rank_zero_has_finished_does_not_cost_the_output() -> None:
    script = Script().busy()
    script.say(0, Finished(1, 0, 3, 1.0, (), held=MIB))
    script.say(1, failed(1))
    for rank in range(RANKS):
        script.say(rank, Settled(1, rank))
    assert script.heard("run_writing") == [("j",)] and not script.heard("run_failed")
    write(script, 1)
    assert ended(script) == [OUTPUT]


def test_a_canceled_run_beside_it_is_its_own_matter() -> None:
    script = Script().ready()
    serial = writing(script)
    script.group.assign(job("next"), {})
    for rank in range(RANKS):
        script.say(rank, Canceled(2, rank, 1))
    assert ended(script) == [None]
    write(script, serial)
    assert isinstance(script.heard("run_ended")[1][1], Result)


def test_a_lost_writing_is_no_attempt_unless_that_is_said() -> None:
    assert isinstance(WRITING_LOST, Lost) and not WRITING_LOST.charge


def test_a_rank_that_is_stopped_is_the_groups_fault_and_not_the_encoders() -> None:
    script = Script(step_timeout=5).ready()
    writing(script)
    script.handles[0].is_stopped = True
    script.handles[0].pong = None
    for _ in range(20):
        script.pass_time(2)
    assert all(handle.killed for handle in script.handles)
    script.die(0, 1)
    assert lost(script) == [("j", True)] and not ended(script)


def test_what_is_not_to_be_trusted_is_not_written() -> None:
    script = Script().busy()
    script.say(0, Finished(1, 0, 3, 1.0, (), applied={"seed": 1}, held=MIB))
    script.say(1, Finished(1, 1, 3, 1.0, (), applied={"seed": 2}))
    assert [error.type for error in ended(script)] == ["applied_mismatch"]
    assert script.handles[0].sent[-1] == "StopWriting" and not script.heard("run_writing")


def test_the_last_step_is_known_while_the_output_is_written() -> None:
    script = Script().busy()
    script.say(0, Step(1, 1, 9))
    script.steps.seen[0] = Progress(1, 9, Phase.LEFT, 1.0, 9, 9)
    leave(script)
    assert script.heard("run_stepped")[-1] == ("j", 9, 9)
