"""`para-attn-server status`: the server, or one job."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from para_attn_server.cli.remote import RETRY_FOR, json_option, seconds_text, url_option


@click.command("status")
@click.argument("request_id", metavar="[ID]", required=False)
@url_option
@json_option
def command(request_id: str | None, url: str, as_json: bool) -> None:
    """Show the server, or one job.

    Exits 1 if the server cannot be reached or has no working group, or if the job does not exist.

    \b
    Examples:
      para-attn-server status
      para-attn-server status 5f0c2b9d4e6a4c0f8a3f1f4f0a7d2e61
      para-attn-server status --json --url http://gpu-box:5000
    """
    from para_attn_server.client import Client

    with Client(url, retry_for=RETRY_FOR) as client:
        answer = client.status(request_id) if request_id is not None else client.server_status()
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif request_id is not None:
        _show_job(answer)
    else:
        _show_server(answer, url)
    if answer["status"] == "broken":
        sys.exit(1)


def job_rows(job: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known of a job, as pairs of name and text."""
    from para_attn_server.cli.progress import described

    rows = [("job", job["request_id"]), ("status", described(job))]
    if job.get("reason"):
        rows.append(("reason", job["reason"]))
    if job.get("total_steps"):
        rows.append(("steps", f"{job['step']} of {job['total_steps']}"))
    if job.get("eta_seconds") is not None:
        rows.append(("left", f"about {seconds_text(job['eta_seconds'])}"))
    if "error" in job:
        rows += [("error", job["error"]["type"]), ("message", job["error"]["message"])]
        rows += [(key, str(job["error"][key])) for key in ("rank", "step", "hint") if key in job["error"]]
    rows += [(key, str(job[key])) for key in ("attempts", "seed", "output_path", "size", "sha256") if job.get(key)]
    if job.get("output_removed"):
        rows.append(("output", f"removed from the server ({job['output_removed']['reason']})"))
    if job.get("timings"):
        timings = job["timings"]
        rows += [
            ("queued for", seconds_text(timings["queued_seconds"])),
            ("ran for", seconds_text(timings["run_seconds"])),
        ]
    return rows


def group_row(group: dict[str, Any], now: float) -> tuple[str, ...]:
    """A worker group: index, model, state, for how long, ranks, and its job or what is wrong with it."""
    ranks = "\n".join(f"{rank['rank']}: pid {rank['pid'] or '-'} on {rank['device'] or '-'}" for rank in group["ranks"])
    note = group.get("cause") or (f"job {group['job_id']}" if group.get("job_id") else "")
    since = seconds_text(max(0.0, now - group["since"]))
    return str(group["index"]), group["model"], group["state"], since, ranks, note


def _show_job(job: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from para_attn_server.cli.console import make_console

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, text in job_rows(job):
        table.add_row(name, Text(text, overflow="fold"))
    make_console().print(table)


def _show_server(server: dict[str, Any], url: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from para_attn_server.cli.console import make_console

    console = make_console()
    cause = f": {server['cause']}" if server.get("cause") else ""
    up = seconds_text(server["uptime_seconds"])
    console.print(Text(f"{url} is {server['status']}{cause}, up for {up}"))
    console.print(Text("jobs: " + ", ".join(f"{count} {status}" for status, count in server["queue"].items())))
    for notice in server["notices"]:
        console.print(Text(f"note: {notice}"))
    table = Table("group", "model", "state", "for", "ranks", "note", box=None, pad_edge=False)
    for group in server["groups"]:
        table.add_row(*map(Text, group_row(group, time.time())))
    console.print(table)
    console.print(Text(", ".join(f"{package} {version}" for package, version in sorted(server["versions"].items()))))
