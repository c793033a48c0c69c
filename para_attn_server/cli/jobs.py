"""`para-attn-server jobs`: the jobs of a server, newest first."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from para_attn_server.cli.remote import RETRY_FOR, json_option, seconds_text, url_option
from para_attn_server.core.job import JobStatus

_TITLES = ("job", "status", "model", "accepted", "ran for", "note")


@click.command("jobs")
@click.option("--status", type=click.Choice([status.value for status in JobStatus]), help="Only jobs of this status.")
@click.option("--model", metavar="NAME", help="Only jobs of this model.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, at most.")
@url_option
@json_option
def command(status: str | None, model: str | None, limit: int, url: str, as_json: bool) -> None:
    """List jobs, the newest first.

    \b
    Examples:
      para-attn-server jobs
      para-attn-server jobs --status failed --limit 5
      para-attn-server jobs --json --url http://gpu-box:5000
    """
    from para_attn_server.client import Client

    given: Any = {name: value for name, value in (("status", status), ("model", model)) if value is not None}
    with Client(url, retry_for=RETRY_FOR) as client:
        found = list(client.jobs(limit, **given))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found:
        _show(found)
    else:
        click.echo("no jobs")


def job_row(job: dict[str, Any], now: float) -> tuple[str, ...]:
    """A job of the list, as text: what it is, how long ago it came, how long it ran, and what came of it."""
    began, ended = job["started_at"], job["finished_at"]
    ran = "" if began is None else seconds_text(max(0.0, (now if ended is None else ended) - began))
    ago = f"{seconds_text(max(0.0, now - job['created_at']))} ago"
    return job["request_id"], job["status"], job["model"] or "", ago, ran, _note(job)


def _note(job: dict[str, Any]) -> str:
    if job["error"]:
        return f"{job['error']['type']}: {job['error']['message']}"
    if job["output_removed"]:
        return f"output removed ({job['output_removed']['reason']})"
    if job["outputs"]:
        return str(job["outputs"][0]["output_path"])
    total = job["total_steps"]
    return f"step {job['step']} of {total}" if total and job["status"] == JobStatus.RUNNING else ""


def _show(jobs: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from para_attn_server.cli.console import make_console

    now = time.time()
    table = Table(*_TITLES, box=None, pad_edge=False)
    for job in jobs:
        table.add_row(*(Text(cell, overflow="fold") for cell in job_row(job, now)))
    make_console().print(table)
