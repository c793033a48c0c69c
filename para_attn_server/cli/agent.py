"""`para-attn-server agent`: run ranks for a server elsewhere. Checks its options, then becomes the agent."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from para_attn_server.core.errors import UsageError
from para_attn_server.core.install import require_server
from para_attn_server.core.process import python_command
from para_attn_server.core.settings import parse_duration
from para_attn_server.core.signals import held

AGENT = "para_attn_server.executors.agent"


@click.command("agent")
@click.option("--listen", default="127.0.0.1:5800", show_default=True, help="Address to listen on, as HOST:PORT.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".para-attn-agent"),
    show_default=True,
    help="Folder of the agent's lock; one agent per folder.",
)
@click.option(
    "--controller-timeout",
    default="10s",
    show_default=True,
    help="How long the server may be silent before its ranks are killed.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console")
def command(listen: str, state_dir: Path, controller_timeout: str, log_level: str, log_format: str) -> None:
    """Run the ranks of a server that is elsewhere.

    The server is started with --executor agent://HOST:PORT. Both need the same secret, of 16 characters or more: in
    PARA_ATTN_AGENT_SECRET, or in a file that PARA_ATTN_AGENT_SECRET_FILE names. Whoever has the secret can run code
    here. An agent runs the ranks of one server at a time, until Ctrl-C or SIGTERM.

    \b
    Examples:
      para-attn-server agent
      PARA_ATTN_AGENT_SECRET_FILE=secret para-attn-server agent --listen 10.0.0.7:5800
    """
    require_server()
    try:
        seconds = parse_duration(controller_timeout)
    except ValueError as error:
        raise UsageError(f"controller_timeout: {error} (got {controller_timeout!r})") from None
    if seconds < 3:
        raise UsageError("controller_timeout: must be 3s or more, since the server speaks once a second")
    options = {
        "listen": listen,
        "state_dir": str(state_dir.expanduser().absolute()),
        "controller_timeout": seconds,
        "log_level": log_level,
        "log_format": log_format,
    }
    sys.stdout.flush()
    with held():  # until the agent has its handlers
        os.execv(sys.executable, python_command(AGENT, json.dumps(options)))
