"""Whatever happens to a group, in whatever order: each run is reported once, no rank is started beside a living one,
and the listener never meets the group between two phases (the script asserts that)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from test_group import CRASHED, JOB, KILLED, OUTPUT, RANKS, Script, failed

from para_attn_server.core.wire.ranks import (
    Canceled,
    Finished,
    Pong,
    Ready,
    Settled,
    SetupError,
    Started,
    Step,
    Unwritten,
    Written,
)
from para_attn_server.executors.base import ExitInfo
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.run import CANCEL
from para_attn_server.pool.writing import MOST_JOBS


class Life(Script):
    """Plays the executor by its rules: a rank dies once, after it was launched; a launch comes to one outcome."""

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.under_way = False
        self.assigned = 0
        super().__init__()

    def launch(self, *args: Any) -> None:
        assert not self.alive and not self.under_way, "two models in one GPU's memory"
        super().launch(*args)
        self.under_way = True

    def abort_launch(self) -> None:
        pass  # it ends later

    def end_launch(self, well: bool) -> None:
        if not self.under_way:
            return
        self.under_way = False
        if well:
            self.alive = set(range(RANKS))
            self.launched()
        else:
            self.group.launch_failed(self.generation, "EOFError", own_fault=False)

    def end(self, rank: int, death: ExitInfo) -> None:
        if rank in self.alive:
            self.alive.discard(rank)
            self.die(rank, death=death)

    def speak(self, rank: int, message: Any) -> None:
        if rank in self.alive:
            self.say(rank, message)

    def give_job(self) -> None:
        if self.group.state is GroupState.READY:
            self.assigned += 1
            self.group.assign(JOB, {"seed": self.assigned})

    @property
    def serial(self) -> int:
        return self.group.run.serial if self.group.run else 0

    @property
    def reported(self) -> int:
        return len([*self.heard("run_ended"), *self.heard("run_lost"), *self.heard("writing_lost")])

    @property
    def under_work(self) -> int:
        """Jobs that run, or are written."""
        return (self.group.run is not None) + len(self.group.writings.live)


def spoken(rank: int, kind: str, serial: int, points: int) -> Any:
    return {
        "ready": Ready(rank, "cpu", {} if rank == 0 else None, {}, ".png"),
        "setup error": SetupError(rank, "no", ""),
        "pong": Pong(rank),
        "started": Started(serial),
        "step": Step(serial, points, 9),
        "finished": Finished(serial, rank, points, 0.1, () if rank else (OUTPUT,)),
        "gone": Finished(serial, rank, points, 0.1, () if rank else (OUTPUT,), connected=False),
        "held": Finished(serial, rank, points, 0.1, (), held=None if rank else 2**29),
        "written": Written(serial, (OUTPUT,), 0.1),
        "unwritten": Unwritten(serial),
        "canceled": Canceled(serial, rank, points),
        "failed": replace(failed(rank, points), serial=serial),
        "settled": Settled(serial, rank),
    }[kind]


OF_RANKS = ["ready", "setup error", "pong", "started", "step", "settled"]
KINDS = st.sampled_from([*OF_RANKS, "finished", "gone", "held", "held", "canceled", "failed"])
RANK = st.integers(0, RANKS - 1)
HAPPENINGS = st.one_of(
    st.tuples(st.just("say"), RANK, KINDS, st.integers(1, 2)),
    st.tuples(st.just("all say"), KINDS),
    st.tuples(st.just("launch"), st.booleans()),
    st.tuples(st.just("die"), RANK, st.sampled_from([KILLED, CRASHED, ExitInfo("ended", own_fault=False)])),
    st.tuples(st.just("pass"), st.sampled_from([0.1, 1.0, 31.0, 70.0])),
    st.tuples(st.sampled_from(["job", "job", "cancel", "stop", "stop writing"])),
    st.tuples(st.just("write"), st.sampled_from(["written", "unwritten"]), st.integers(0, 2)),
)


def happen(life: Life, name: str, *what: Any) -> None:
    match name, what:
        case "say", (rank, kind, points):
            life.speak(rank, spoken(rank, kind, life.serial, points))
        case "all say", (kind,):
            for rank in range(RANKS):
                life.speak(rank, spoken(rank, kind, life.serial, 1))
        case "write", (kind, back):
            life.speak(0, spoken(0, kind, life.group.serial - back, 1))
        case "launch", (well,):
            life.end_launch(well)
        case "die", (rank, death):
            life.end(rank, death)
        case "pass", (seconds,):
            life.pass_time(seconds)
        case "job", _:
            life.give_job()
        case "cancel", _:
            life.group.stop_run(CANCEL)
        case "stop writing", _:
            life.group.stop_writing(JOB.id, CANCEL)
        case "stop", _:
            life.group.stop()


@settings(max_examples=150, deadline=None)
@given(st.lists(HAPPENINGS, max_size=60))
def test_each_run_is_reported_once_and_no_rank_is_started_beside_a_living_one(happenings: list[Any]) -> None:
    life = Life()
    happen(life, "launch", True)
    happen(life, "all say", "ready")
    for happening in happenings:
        happen(life, *happening)
        assert life.reported == life.assigned - life.under_work
        assert len(life.group.writings.live) <= MOST_JOBS
    life.group.stop()
    life.end_launch(True)
    life.pass_time(10)
    for rank in range(RANKS):
        life.end(rank, KILLED)
    assert life.group.stopped and not life.under_way
    assert life.reported == life.assigned
