"""What the benchmarks conclude: an audit that misses nothing, a slope that is one, verdicts that are computed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from census import Life
from ledger import Ledger, audit
from server import Log
from table import Row, verdict

ARGUMENTS = {"seed": 1}


class Books:
    """A database and an output folder as a server leaves them, and the ledger of its client; all in order."""

    def __init__(self, folder: Path) -> None:
        self.state_dir, self.outputs = folder / "state", folder / "outputs"
        self.state_dir.mkdir()
        self.outputs.mkdir()
        self.ledger = Ledger()
        with closing(sqlite3.connect(self.state_dir / "jobs.sqlite3")) as database, database:
            database.execute("CREATE TABLE jobs (id, status, output_root)")
            database.execute("CREATE TABLE outputs (job_id, output_index, path)")
            database.execute("CREATE TABLE events (job_id, type)")

    def job(self, name: str, status: str = "succeeded", content: bytes = b"picture", ends: int = 1) -> Path:
        """A job that ended so, and its file."""
        path = self.outputs / f"{name}.png"
        if status == "succeeded":
            path.write_bytes(content)
        with closing(sqlite3.connect(self.state_dir / "jobs.sqlite3")) as database, database:
            database.execute("INSERT INTO jobs VALUES (?, ?, ?)", (name, status, str(self.outputs)))
            if status == "succeeded":
                database.execute("INSERT INTO outputs VALUES (?, 0, ?)", (name, path.name))
            database.executemany("INSERT INTO events VALUES (?, ?)", [(name, "queued")] + [(name, status)] * ends)
        return path

    def accepted(self, name: str, told: str | None = "succeeded", *may: str, content: bytes = b"picture") -> None:
        """What the client knows of it."""
        self.ledger.accepted(name, ARGUMENTS, *may)
        digest = hashlib.sha256(content).hexdigest() if told == "succeeded" else None
        if told is not None:
            self.ledger.told(name, {"status": told, "sha256": digest})

    def wrong(self) -> tuple[int, int, int]:
        """Lost, doubled, different."""
        found = audit(self.ledger, self.state_dir, self.outputs)
        return len(found.lost), len(found.doubled), len(found.different)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    made = Books(tmp_path)
    made.job("good")
    made.accepted("good")
    made.job("canceled", "canceled")
    made.accepted("canceled", "canceled", "canceled", "succeeded")
    return made


def test_books_in_order(books: Books) -> None:
    assert books.wrong() == (0, 0, 0)


def test_a_job_that_the_server_does_not_know_is_lost(books: Books) -> None:
    books.accepted("gone")
    assert books.wrong() == (1, 0, 0)


def test_a_job_without_an_end_is_lost(books: Books) -> None:
    books.job("waiting", "queued")
    books.accepted("waiting", None)
    assert books.wrong() == (1, 0, 0)


def test_a_job_that_failed_or_was_canceled_unasked_is_lost(books: Books) -> None:
    for status in ("failed", "canceled"):
        books.job(status + "-unasked", status)
        books.accepted(status + "-unasked", status)
    assert books.wrong() == (2, 0, 0)


def test_an_output_that_is_missing_is_a_loss(books: Books) -> None:
    books.job("cut").unlink()
    books.accepted("cut")
    assert books.wrong() == (1, 0, 0)


def test_a_second_end_an_unknown_job_and_a_stray_file_are_doubles(books: Books) -> None:
    books.job("twice", ends=2)
    books.accepted("twice")
    books.job("unknown", "canceled")
    (books.outputs / ".half.part.png").touch()
    assert books.wrong() == (0, 3, 0)


def test_outputs_must_be_as_told_and_alike(books: Books) -> None:
    books.job("changed", content=b"another")
    books.accepted("changed")
    books.job("other", content=b"other")
    books.accepted("other", content=b"other")
    assert books.wrong() == (0, 0, 2)


def test_a_slope_leaves_out_the_warm_up_and_short_lives() -> None:
    life = Life()
    for jobs in range(0, 1001, 10):
        life.jobs.append(1000 + jobs)
        life.memory.append(5000.0 if jobs < 200 else 7000.0 + 0.5 * jobs)
    assert life.slope(warm_up=200, least=300) == pytest.approx(50.0)
    assert life.slope(warm_up=200, least=900) is None


def test_a_verdict_needs_every_target() -> None:
    met = Row("a", "ms", 1.0, 3, p99=9.0, target=2.0)
    by_p99 = Row("b", "ms", 1.0, 3, p99=9.0, target_p99=8.0)
    free = Row("c", "ms", 1.0, 3, p99=9.0)
    assert (met.met, by_p99.met, free.met) == (True, False, None)
    assert by_p99.cells()[3:] == ["p99 8 ms", "missed"] and free.cells()[3:] == ["", ""]
    assert verdict([met, free]) == "all targets are met"
    assert verdict([met, by_p99]) == "1 of the targets are missed"


def test_a_record_is_found_behind_what_a_killed_process_was_writing(tmp_path: Path) -> None:
    whole = {"event": "worker group is ready", "timestamp": "2026-01-01T00:00:00.250000", "more": {"a": 1}}
    file = tmp_path / "log"
    file.write_text('Traceback\n{"event": "job {"broken": 1' + json.dumps(whole) + "\n" + json.dumps(whole)[:30])
    log = Log(file)
    assert len(log.records("worker group is ready")) == 1
    with file.open("a") as more:
        more.write(json.dumps(whole)[30:] + "\n")
    first, second = log.records("worker group is ready")
    assert first["at"] == second["at"] and first["at"] % 1 == 0.25
    assert log.records("worker group is ready", since=first["at"] + 0.1) == []
