"""Damage in the write-ahead log is found, though SQLite finds none, and nothing else is taken for it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.stores.wal import damage, damaged_logs, keep_damaged

ROWS = 40
FRAME = 24 + 4096


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """As a killed server leaves it: 40 transactions in the log, of which nothing is in the database yet."""
    source, killed = tmp_path / "source.db", tmp_path / "jobs.sqlite3"
    with sqlite3.connect(source, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(ROWS):
            connection.execute("INSERT INTO t VALUES (?)", (f"{number}" * 500,))
        for suffix in ("", "-wal"):
            shutil.copy(f"{source}{suffix}", f"{killed}{suffix}")
    connection.close()
    return killed


def log_of(database: Path) -> Path:
    return Path(f"{database}-wal")


def flip(path: Path, where: int) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


def rows(database: Path) -> int:
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])
    finally:
        connection.close()


def test_a_whole_log_has_no_damage(database: Path) -> None:
    assert keep_damaged(database) is None
    assert not damaged_logs(database)
    assert rows(database) == ROWS


@pytest.mark.parametrize("where", [32 + 8 * FRAME + 2000, 32 + 8 * FRAME + 17, 32 + 8 * FRAME + 9, 32 + 8 * FRAME + 1])
def test_a_flipped_bit_is_counted_and_the_log_is_kept(database: Path, where: int) -> None:
    flip(log_of(database), where)
    damaged = log_of(database).read_bytes()
    found = keep_damaged(database)
    assert found is not None and found.kept is not None
    left = rows(database)
    assert 0 < left < ROWS, "SQLite says that all is well"
    assert left + found.transactions == ROWS
    assert damaged_logs(database) == [found.kept.name]
    assert found.kept.read_bytes() == damaged


@pytest.mark.parametrize("where", [0, 5, 10, 18, 25])
def test_a_damaged_head_costs_all_of_the_log(database: Path, where: int) -> None:
    flip(log_of(database), where)
    found = damage(log_of(database))
    assert found is not None and found.transactions == ROWS
    assert rows(database) == 0


def test_what_a_kill_leaves_is_no_damage(database: Path) -> None:
    log, whole = log_of(database), log_of(database).read_bytes()
    for kept in (0, 31, 32, len(whole) - 1, len(whole) - FRAME, len(whole) - FRAME + 30):
        log.write_bytes(whole[:kept])
        assert damage(log) is None, kept
    unfinished = bytearray(whole[-FRAME:])
    unfinished[4:8] = bytes(4)
    log.write_bytes(whole + unfinished * 3)  # frames of a transaction that was not committed
    assert damage(log) is None
    log.unlink()
    assert damage(log) is None


def test_old_frames_behind_a_log_that_was_begun_anew_are_no_damage(database: Path) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    assert connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
    connection.execute("INSERT INTO t VALUES (1)")
    assert log_of(database).stat().st_size > 32 + 10 * FRAME
    assert damage(log_of(database)) is None
    connection.close()


def test_a_damaged_log_that_cannot_be_kept_is_not_opened(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    flip(log_of(database), 32 + 2000)
    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        keep_damaged(database)
