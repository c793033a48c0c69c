"""`para-attn-server log`: the log of a job."""

from __future__ import annotations

import click

from para_attn_server.cli.remote import RETRY_FOR, url_option


@click.command("log")
@click.argument("request_id", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Follow the log until the job has ended.")
@url_option
def command(request_id: str, follow: bool, url: str) -> None:
    """Show a job's log: the lines of self.log(), and the traceback of a failed job.

    \b
    Examples:
      para-attn-server log 5f0c2b9d4e6a4c0f8a3f1f4f0a7d2e61
      para-attn-server log -f 5f0c2b9d4e6a4c0f8a3f1f4f0a7d2e61
    """
    from para_attn_server.client import Client

    with Client(url, retry_for=RETRY_FOR) as client:
        for line in client.log(request_id, follow):
            click.echo(line)
