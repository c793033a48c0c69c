"""The outcome of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check came out. Only a problem keeps the server from working."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """name: what was checked; found: the result; advice: what to do about it, empty if all is well."""

    name: str
    state: State
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, State.OK, found)


def warning(name: str, found: str, advice: str) -> Check:
    """It works, but not as well as it could."""
    return Check(name, State.WARNING, found, advice)


def problem(name: str, found: str, advice: str) -> Check:
    """The server would not work."""
    return Check(name, State.PROBLEM, found, advice)


def size_text(size: float) -> str:
    """Bytes for people: `512 MiB`, `1.5 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
