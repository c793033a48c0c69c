"""Old jobs go, a few at a time; a wall clock that jumps makes nothing old."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from runs import run_of
from structlog.testing import capture_logs

from para_attn_server.controller import retention
from para_attn_server.controller.retention import AT_ONCE, ClockWatch, Limits, Retention, settle_clock
from para_attn_server.core import steady as clock
from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import NewJob, Output, Result
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.stores.base import OutputTotals
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


def ended(store: SqlStore, folder: Path, name: str, size: int = 1) -> Path:
    path = folder / name
    job = store.insert(NewJob({}, str(path)), 1000, time.time())
    store.start(job.id, 0, time.time())
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - 0.01, time.time() - 0.01))
    result = Result((Output(str(path), "image/png", size, "0"),))
    store.succeed(job.id, result, time.time(), run=run_of(store, job.id))
    return path


class Keeping:
    """Retention. limits: as in Limits, by default seven days."""

    def __init__(self, store: SqlStore, folder: Path, clocks: Clocks, **limits: Any) -> None:
        chosen = Limits(**{"keep": 7 * DAY, "keep_outputs": 7 * DAY, **limits})
        self.retention = Retention(store, OutputFolder(folder, False, folder / "state"), chosen, clocks.watch)

    def tick(self, now: float) -> None:
        self.retention.tick(now)

    def ticks(self, now: float, number: int) -> None:
        """So many ticks, a tenth of a second apart."""
        for each in range(number):
            self.tick(now + each / 10)


def keeper(store: SqlStore, folder: Path, clocks: Clocks, **limits: Any) -> Keeping:
    return Keeping(store, folder, clocks, **limits)


def test_all_outputs_of_an_old_job_are_removed(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(monkeypatch)
    job = store.insert(NewJob({}, str(tmp_path / "a.png")), 10, time.time())
    started = store.start(job.id, 0, time.time())
    paths = [tmp_path / name for name in ("a.png", "a-1.png", "a-2.json")]
    for path in paths:
        path.write_bytes(b"x")
        os.utime(path, (time.time(), time.time()))
    outputs = tuple(Output(str(path), "image/png", 1, "0") for path in paths)
    store.succeed(job.id, Result(outputs), time.time(), run=started.run_id)
    for _ in range(8 * 24 * 60):
        clocks.passes(60.0)
        clocks.watch.tick()
    keeper(store, tmp_path, clocks).ticks(200.0, 3)
    assert store.get(job.id) is None and not any(path.exists() for path in paths)


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
    assert sum(path.exists() for path in paths) == 1 and store.counts().succeeded == AT_ONCE + 1
    keeping.tick(200.1)
    assert not any(path.exists() for path in paths)
    with capture_logs() as logs:
        keeping.ticks(200.2, 3)
    assert store.counts().succeeded == 0
    assert logs[0] == {"event": "old outputs removed", "log_level": "info", "jobs": AT_ONCE + 1, "bytes": AT_ONCE + 1}
    assert [entry["jobs"] for entry in logs[1:]] == [AT_ONCE, 1]


def test_files_go_before_their_jobs_do_and_the_jobs_say_so(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(monkeypatch)
    path = ended(store, tmp_path, "a.png")
    (job,) = store.with_outputs(9)
    keeping = keeper(store, tmp_path, clocks, keep_outputs=DAY)
    clocks.passes(DAY - 1)
    keeping.ticks(100.0, 3)
    assert path.exists()
    clocks.passes(2)
    keeping.ticks(200.0, 3)
    found = store.get(job.id)
    assert not path.exists() and found is not None and found.output == job.output
    assert (found.outputs_removed_at, found.outputs_removed_for) == (clocks.wall, "expired")
    assert store.output_totals() == OutputTotals(0, 0, 0)
    path.write_bytes(b"a person's")
    os.utime(path, (1.0, 1.0))
    for day in range(7):
        clocks.passes(DAY)
        keeping.ticks(300.0 + 100 * day, 3)
    assert store.get(job.id) is None and path.exists(), "what was removed once is not removed again"


def test_the_files_that_ended_first_make_room_for_the_newer_ones_and_that_is_one_line_in_the_log(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(monkeypatch)
    paths = []
    for number in range(2 * AT_ONCE + 3):
        paths.append(ended(store, tmp_path, f"{number}.png", size=10))
        clocks.passes(1.0)
    keeping = keeper(store, tmp_path, clocks, max_bytes=25)
    with capture_logs() as logs:
        keeping.ticks(100.0, 1)
        assert [path.exists() for path in paths] == [False] * AT_ONCE + [True] * (AT_ONCE + 3)
        keeping.ticks(100.1, 5)
    assert [path.exists() for path in paths] == [False] * (2 * AT_ONCE + 1) + [True] * 2
    assert store.output_totals() == OutputTotals(2, 20, 2 * AT_ONCE + 1)
    (entry,) = logs
    assert (entry["event"], entry["jobs"]) == ("outputs removed to stay within --max-output-bytes", 2 * AT_ONCE + 1)
    assert entry["bytes"] == 10 * (2 * AT_ONCE + 1)
    assert store.counts().succeeded == len(paths), "their jobs stay"
    paths.append(ended(store, tmp_path, "last.png", size=10))
    keeping.ticks(101.0, 3)
    assert paths[-3].exists(), "the sum is looked at every two seconds"
    keeping.ticks(103.0, 3)
    assert [path.exists() for path in paths[-3:]] == [False, True, True]


def test_a_disk_that_refuses_a_file_keeps_no_other_from_being_removed(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(monkeypatch)
    paths = [ended(store, tmp_path, f"{number}.png") for number in range(3)]
    unlink = Path.unlink

    def refuse(path: Path, **options: Any) -> None:
        if path == paths[0]:
            raise OSError(1, "Operation not permitted")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    clocks.passes(8 * DAY)
    clocks.watch.tick()
    with capture_logs() as logs:
        keeper(store, tmp_path, clocks).ticks(100.0, 4)
    assert [path.exists() for path in paths] == [True, False, False] and store.counts().succeeded == 0
    assert [entry["path"] for entry in logs if entry["log_level"] == "warning"] == [str(paths[0])]


def test_a_store_that_refuses_is_asked_again_and_nothing_is_forgotten(
    store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(monkeypatch)
    path = ended(store, tmp_path, "a.png", size=10)
    keeping = keeper(store, tmp_path, clocks, max_bytes=5)

    def refuse(*_: Any) -> None:
        raise StoreUnavailable("locked")

    with monkeypatch.context() as patch:
        patch.setattr(store, "outputs_removed", refuse)
        keeping.ticks(100.0, 3)
        assert not path.exists() and store.output_totals().jobs == 1
    keeping.ticks(102.0, 2)
    assert store.output_totals() == OutputTotals(0, 0, 1)


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
