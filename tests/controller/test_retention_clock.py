"""Old jobs go, a few at a time; a wall clock that jumps makes nothing old."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from runs import run_of
from structlog.testing import capture_logs

from para_attn_server.controller import retention
from para_attn_server.controller.retention import AT_ONCE, ClockWatch, Retention, settle_clock
from para_attn_server.core import steady as clock
from para_attn_server.core.job import NewJob, Output
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.stores.migrate import ensure_schema
from para_attn_server.stores.sql import SqlStore

DAY = 86400.0
PAUSES, GOES_ON = "the wall clock has jumped; removal of old jobs pauses", "removal of old jobs resumes"


class Clocks:
    """Both clocks, to be set by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.boot = time.time(), 1000.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(clock, "steady", lambda: self.boot + offset)
        offset = self.wall - self.boot
        self.watch = ClockWatch(7 * DAY, lambda: self.wall, lambda: self.boot)

    def passes(self, seconds: float) -> None:
        self.wall, self.boot = self.wall + seconds, self.boot + seconds


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    ensure_schema(tmp_path / "jobs.sqlite3")
    with closing(SqlStore.open(tmp_path / "jobs.sqlite3", durable=False, steady=lambda: clock.steady())) as opened:
        yield opened


def ended(store: SqlStore, folder: Path, name: str) -> Path:
    path = folder / name
    job = store.insert(NewJob({}, str(path)), 1000, time.time())
    store.start(job.id, 0, time.time())
    path.write_bytes(b"x")
    os.utime(path, (time.time(), time.time()))
    store.succeed(job.id, Output(str(path), "image/png", 1, "0"), time.time(), run=run_of(store, job.id))
    return path


def keeper(store: SqlStore, folder: Path, clocks: Clocks) -> Retention:
    return Retention(store, OutputFolder(folder, False, folder / "state"), 7 * DAY, clocks.watch)


def test_old_jobs_are_removed_a_few_at_a_time_until_none_is_left(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(monkeypatch)
    paths = [ended(store, tmp_path, f"{number}.png") for number in range(AT_ONCE + 1)]
    keeping = keeper(store, tmp_path, clocks)
    keeping.tick(100.0)
    assert all(path.exists() for path in paths)
    for _ in range(8 * 24 * 60):  # eight days, as they pass
        clocks.passes(60.0)
        clocks.watch.tick()
    keeping.tick(200.0)
    assert sum(path.exists() for path in paths) == 1
    keeping.tick(200.1)
    assert store.counts().succeeded == 0 and not any(path.exists() for path in paths)


def test_a_jump_of_ten_days_removes_nothing_and_is_said_once(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(monkeypatch)
    path = ended(store, tmp_path, "young.png")
    keeping = keeper(store, tmp_path, clocks)
    keeping.tick(100.0)
    clocks.wall += 10 * DAY
    with capture_logs() as logs:
        for second in range(0, 3600, 60):
            clocks.passes(60.0)
            keeping.tick(200.0 + second)
    assert path.exists() and store.counts().succeeded == 1
    assert [entry["event"] for entry in logs] == [PAUSES]
    again = keeper(store, tmp_path, Clocks(monkeypatch))  # a restart, with the wall clock still wrong
    monkeypatch.setattr(clock, "steady", lambda: clocks.wall - 10 * DAY)
    again.tick(100.0)
    assert path.exists(), "the steady clock goes on over a restart"


def test_removal_goes_on_when_the_clock_is_right_again_or_all_from_before_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = Clocks(monkeypatch)
    with capture_logs() as logs:
        clocks.wall += 10 * DAY
        clocks.watch.tick()
        assert clocks.watch.doubtful
        clocks.wall -= 10 * DAY
        clocks.watch.tick()
        assert not clocks.watch.doubtful
        clocks.wall -= 3600  # as a correction at boot: nobody takes it back
        clocks.watch.tick()
        clocks.passes(7 * DAY - 1)
        clocks.watch.tick()
        assert clocks.watch.doubtful
        clocks.passes(1)
        clocks.watch.tick()
        assert not clocks.watch.doubtful
    assert [entry["event"] for entry in logs] == [PAUSES, GOES_ON, PAUSES, GOES_ON]


def test_a_clock_that_is_slewed_is_no_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    for _ in range(1000):
        clocks.passes(10.0)
        clocks.wall += 1.0
        clocks.watch.tick()
        assert not clocks.watch.doubtful


def test_the_steady_clock_goes_on_over_a_restart_and_begins_anew_after_a_boot(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_offset", clock.offset())
    monkeypatch.setenv(clock.VARIABLE, "0")
    settle_clock(store)
    first = clock.offset()
    monkeypatch.setattr(retention.time, "time", lambda: 5.0)
    settle_clock(store)
    assert clock.offset() == first == float(os.environ[clock.VARIABLE])
    monkeypatch.setattr(clock, "boot_id", lambda: "another boot")
    monkeypatch.setattr(clock, "boottime", lambda: 2.0)
    settle_clock(store)
    assert (clock.offset(), clock.steady()) == (3.0, 5.0)
