"""Shows how a job gets on: a live bar on a terminal, plain lines elsewhere. Writes to stderr only."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from para_attn_server.cli.remote import seconds_text

_LINES = 10  # plain lines per job, about


class Display(Protocol):
    """A context manager that is shown each status of one job."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, status: dict[str, Any]) -> None:
        """Show a status as the client returns it."""


def display() -> Display:
    """The display that fits stderr."""
    console = Console(stderr=True)
    return LiveDisplay(console) if console.is_terminal else PlainDisplay()


def described(status: dict[str, Any]) -> str:
    """A status in words: `queued, 2 jobs before it`; of a job whose output is written, `writing`."""
    if status["status"] != "queued":
        return str(status.get("phase") or status["status"])
    before = status.get("queue_position")
    if before is None:
        return "queued"
    return "queued, next" if before == 0 else f"queued, {before} job{'s' if before > 1 else ''} before it"


class LiveDisplay:
    """A bar with steps, elapsed time and the server's estimate of what is left."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[steps]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._progress.add_task("sent", total=None, steps="", left="")

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, status: dict[str, Any]) -> None:
        """Move the bar."""
        step, total, eta = status.get("step") or 0, status.get("total_steps"), status.get("eta_seconds")
        self._progress.update(
            self._task,
            description=described(status),
            completed=step,
            total=total,
            steps=f"step {step}/{total}" if total else f"step {step}" if step else "",
            left="" if eta is None else f"about {seconds_text(eta)} left",
        )


class PlainDisplay:
    """A line whenever the status changes, and about ten on the way through the steps."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, status: dict[str, Any]) -> None:
        """Print a line if there is something new to say."""
        step, total, eta = status.get("step") or 0, status.get("total_steps"), status.get("eta_seconds")
        shown = step - step % max(1, (total or 0) // _LINES) if step != total else step
        line = described(status) + (f", step {shown}/{total}" if total else "")
        if line != self._last:
            self._last = line
            click.echo(line if eta is None else f"{line}, about {seconds_text(eta)} left", err=True)
