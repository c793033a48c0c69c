"""`para-attn-server db`: the schema of the job store, looked at and migrated without a server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from para_attn_server.cli.child import ask
from para_attn_server.cli.options import given, variable
from para_attn_server.core.errors import ServerError
from para_attn_server.core.install import require_server
from para_attn_server.core.settings import load_settings


@click.command("db")
@click.argument("action", type=click.Choice(["current", "check", "upgrade"]))
@click.option("--store", envvar=variable("store"), help="URL of the job store, as the server takes it.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    envvar=variable("state_dir"),
    help="Folder of the SQLite file, where no --store is given.",
)
def command(action: str, store: str | None, state_dir: Path | None) -> None:
    """Show, check or migrate the schema of the job store.

    current prints its revision. check exits 1 unless that is the one this version needs. upgrade migrates it, as the
    server does at its start without --no-migrate. A URL with a password belongs into DATABASE_URL.

    \b
    Examples:
      para-attn-server db current --state-dir /var/lib/para-attn-server
      para-attn-server db check
      para-attn-server db upgrade --store "postgresql://user@host/queue?sslmode=verify-full"
    """
    require_server()
    settings = load_settings(**given({"store": store, "state_dir": state_dir}))
    found = ask("para_attn_server.stores.database", action, environment=settings.as_environment(os.environ))
    if "error" in found:
        error = ServerError(found["error"])
        error.exit_code = found["exit_code"]
        raise error
    revision = found["revision"] or "none"
    if action == "upgrade" and found["before"] != found["revision"]:
        click.echo(f"migrated from {found['before'] or 'none'} to {revision}")
    elif action == "check" and found["revision"] != found["head"]:
        click.echo(f"{revision}: this version needs {found['head']}; run para-attn-server db upgrade")
        sys.exit(1)
    else:
        click.echo(revision)
