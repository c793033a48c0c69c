"""A client's ledger: what was accepted, what was asked of it, what the server told; and the audit of it all.

The audit is made when the server has stopped, against its database and its output folder. It trusts neither alone.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from table import Row

_TERMINAL = ("succeeded", "failed", "canceled")


@dataclass(slots=True)
class Entry:
    """One accepted job. may: the statuses in which it may end. told: the status that its client was told at its end,
    and what was said about it if it failed."""

    arguments: dict[str, Any]
    may: set[str]
    told: str | None = None
    error: dict[str, Any] | None = None
    sha256: str | None = None
    attempts: int = 1


class Ledger:
    """The accepted jobs by id. May be written by several threads."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.refused: list[str] = []
        self._lock = threading.Lock()

    def accepted(self, job_id: str, arguments: dict[str, Any], *may: str) -> None:
        """A job was accepted; it may end in these statuses, `succeeded` if none is given."""
        with self._lock:
            self.entries[job_id] = Entry(arguments, set(may) or {"succeeded"})

    def may(self, job_id: str, *statuses: str) -> None:
        """From now on a job may end in these statuses and no other."""
        with self._lock:
            self.entries[job_id].may = set(statuses)

    def was_refused(self, why: str) -> None:
        """A job was not accepted in all the time that its client had."""
        with self._lock:
            self.refused.append(why)

    def told(self, job_id: str, status: dict[str, Any]) -> None:
        """The end of a job, as its client was told."""
        with self._lock:
            entry = self.entries[job_id]
            entry.told, entry.error, entry.sha256 = str(status["status"]), status.get("error"), status.get("sha256")
            entry.attempts = status.get("attempts", entry.attempts)

    @property
    def ended(self) -> int:
        """Jobs whose end was told."""
        with self._lock:
            return sum(entry.told is not None for entry in self.entries.values())


@dataclass(slots=True)
class Audit:
    """What is wrong, in words; empty lists where nothing is. jobs: accepted, by the ledger."""

    jobs: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def __add__(self, other: Audit) -> Audit:
        return Audit(
            self.jobs + other.jobs,
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.different + other.different,
        )

    def rows(self) -> list[Row]:
        """For the table."""
        return [
            Row("jobs lost: accepted, but not ended as reported and expected", "", len(self.lost), self.jobs, target=0),
            Row(
                "jobs doubled: ended twice, unknown to their client, or an output too many",
                "",
                len(self.doubled),
                self.jobs,
                target=0,
            ),
            Row(
                "outputs that are not as reported, or differ for the same arguments",
                "",
                len(self.different),
                self.jobs,
                target=0,
            ),
        ]

    @property
    def complaints(self) -> list[str]:
        """All of it."""
        return self.lost + self.doubled + self.different


_STORED = """
    SELECT jobs.id, jobs.status, jobs.output_root, outputs.path
    FROM jobs LEFT JOIN outputs ON outputs.job_id = jobs.id AND outputs.output_index = 0
"""


def audit(ledger: Ledger, state_dir: Path, outputs: Path) -> Audit:
    """Compare. state_dir: of the stopped server; outputs: its output folder, which held nothing before."""
    found = Audit(len(ledger.entries))
    with closing(sqlite3.connect(state_dir / "jobs.sqlite3")) as database:
        stored = {
            job: (status, path and Path(root or "", path)) for job, status, root, path in database.execute(_STORED)
        }
        marks = ",".join("?" * len(_TERMINAL))
        ends = Counter(
            job for (job,) in database.execute(f"SELECT job_id FROM events WHERE type IN ({marks})", _TERMINAL)
        )
    files = {path.resolve() for path in outputs.rglob("*") if path.is_file()}
    for job_id, entry in ledger.entries.items():
        status, output = stored.get(job_id, ("unknown", None))
        if entry.told not in entry.may or status != entry.told:
            may = " or ".join(sorted(entry.may))
            why = f" ({entry.error})" if entry.error else ""
            found.lost.append(f"{job_id}: told {entry.told}{why}, stored as {status}, should be {may}")
        if ends[job_id] > 1:
            found.doubled.append(f"{job_id}: ended {ends[job_id]} times")
        if status == "succeeded":
            _compare(found, job_id, entry, output.resolve(), files)
    found.doubled += [f"{job_id}: nobody knows of it" for job_id in stored.keys() - ledger.entries.keys()]
    found.doubled += [f"{path.name}: no job made it" for path in files]
    found.different += _differing(ledger)
    return found


def _compare(found: Audit, job_id: str, entry: Entry, path: Path, files: set[Path]) -> None:
    """The file that a job says it made is there, is no other job's, and is as told; takes it off `files`."""
    if path not in files:
        found.lost.append(f"{job_id}: its output {path.name} is missing")
        return
    files.remove(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
        found.different.append(f"{job_id}: its output is not the one that was told")


def _differing(ledger: Ledger) -> list[str]:
    first: dict[str, tuple[str, str]] = {}
    differing = []
    for job_id, entry in ledger.entries.items():
        if entry.sha256 is not None:
            key = json.dumps(entry.arguments, sort_keys=True)
            earlier, digest = first.setdefault(key, (job_id, entry.sha256))
            if digest != entry.sha256:
                differing.append(f"{job_id}: another output than {earlier}, for the same arguments")
    return differing
