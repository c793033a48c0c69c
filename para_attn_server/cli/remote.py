"""What the commands that talk to a running server share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from para_attn_server.core.errors import UsageError
from para_attn_server.core.settings import ENV_PREFIX

RETRY_FOR = 3.0
"""Seconds for which a command tries to reach a server that does not answer or takes no work: a person is waiting."""


def _server_url(_context: click.Context, _option: click.Parameter, text: str) -> str:
    from para_attn_server.client.transport import server_url

    try:
        return server_url(text)
    except UsageError as error:
        raise UsageError(f"--url: {error}") from None


url_option: Callable[[Any], Any] = click.option(
    "--url",
    default="http://127.0.0.1:5000",
    show_default=True,
    envvar=f"{ENV_PREFIX}URL",
    show_envvar=True,
    callback=_server_url,
    help="URL of the server.",
)
json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print the server's JSON.")


def seconds_text(seconds: float | None) -> str:
    """A duration for people: `0.4 s`, `2 min 05 s`, `3 h 07 min`; `unknown` for None."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
