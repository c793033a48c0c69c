"""`para-attn-server cancel`: stop a job."""

from __future__ import annotations

import sys

import click

from para_attn_server.cli.remote import RETRY_FOR, url_option


@click.command("cancel")
@click.argument("request_id", metavar="[ID]", required=False)
@url_option
def command(request_id: str | None, url: str) -> None:
    """Cancel a queued or running job; without an id the one running longest.

    Returns when all ranks have left the job, so that the next one can start. Exits 1 if there was nothing to cancel.

    \b
    Examples:
      para-attn-server cancel
      para-attn-server cancel 5f0c2b9d4e6a4c0f8a3f1f4f0a7d2e61
    """
    from para_attn_server.client import Client

    with Client(url, retry_for=RETRY_FOR) as client:
        status = client.cancel(request_id)
    click.echo(f"job {status['request_id']} is {status['status']}")
    if status["status"] != "canceled":
        sys.exit(1)
