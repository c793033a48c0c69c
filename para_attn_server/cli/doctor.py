"""`para-attn-server doctor`: checks whether a server would work on this machine with these settings."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from typing import Any

import click

from para_attn_server.cli.checks.check import Check, State
from para_attn_server.cli.checks.devices import device_checks, ranks_wanted, usable_gpus
from para_attn_server.cli.checks.machine import machine_checks
from para_attn_server.cli.checks.model import model_checks
from para_attn_server.cli.checks.places import place_checks
from para_attn_server.cli.checks.software import software_checks
from para_attn_server.cli.checks.store import store_checks
from para_attn_server.cli.child import ask
from para_attn_server.cli.options import SettingsCommand, given, setting_options
from para_attn_server.core.settings import Settings, load_settings

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "bold red"}


@click.command("doctor", cls=SettingsCommand)
@setting_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: ok, and each check's name, state, found, advice.")
def command(as_json: bool, **options: Any) -> None:
    """Check this machine and these settings, and say what to do.

    Takes the same options and environment variables as serving does; with --model it also imports that predictor.
    Changes nothing. Exits 1 if there is a problem; warnings do not count.

    \b
    Examples:
      para-attn-server doctor
      para-attn-server doctor --model flux --num-devices 4 --state-dir /var/lib/para-attn-server
      para-attn-server doctor --json
    """
    checks = all_checks(load_settings(**given(options)))
    healthy = all(check.state is not State.PROBLEM for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _show(checks)
    if not healthy:
        sys.exit(1)


def all_checks(settings: Settings) -> list[Check]:
    """Every check, in the order in which they are shown; takes seconds, as a child process imports torch."""
    facts = ask("para_attn_server.rank.probe")
    return [
        *machine_checks(settings, ranks_wanted(settings, facts), usable_gpus(settings, facts)),
        *software_checks(facts),
        *device_checks(settings, facts),
        *place_checks(settings),
        *store_checks(settings),
        *model_checks(settings),
    ]


def _show(checks: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    from para_attn_server.cli.console import make_console

    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        found = Text(check.found, overflow="fold")
        if check.advice:
            found.append(f"\n{check.advice}", style=_STYLES[check.state])
        table.add_row(Text(check.state, style=_STYLES[check.state]), check.name, found)
    console = make_console()
    console.print(table)
    counts = Counter(check.state for check in checks)
    console.print(", ".join(f"{counts[state]} {state}" for state in State))
