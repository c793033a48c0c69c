"""`para-attn-server serve`, or no command: check the settings, then become the controller."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from para_attn_server.cli.options import SettingsCommand, given, setting_options
from para_attn_server.core.errors import UsageError
from para_attn_server.core.install import require_server
from para_attn_server.core.lookup import installed
from para_attn_server.core.models import found_models
from para_attn_server.core.process import python_command
from para_attn_server.core.settings import load_settings
from para_attn_server.core.signals import held

DAEMON = "para_attn_server.controller"


@click.command("serve", cls=SettingsCommand)
@setting_options
def command(**options: Any) -> None:
    """Serve one predictor or several; the default command.

    It serves until Ctrl-C or SIGTERM. The first one lets running jobs finish within --shutdown-timeout and keeps the
    rest of the queue for the next start; a second one stops at once. Every option can also be given as an environment
    variable.

    \b
    Examples:
      para-attn-server --model demo --num-devices 2
      para-attn-server --model my_predictor.py:MyPredictor --host 0.0.0.0 --port 8080
      para-attn-server --model demo --model flux
      para-attn-server --config models.toml
      PARA_ATTN_SERVER_MODEL=flux para-attn-server --model-path /models/FLUX.1-dev
    """
    require_server()
    settings = load_settings(**given(options))
    if not settings.model and settings.config is None:
        names = ", ".join(installed())
        raise UsageError(
            f"--model is missing: give a short name ({names}), module.path:Class or path/to/file.py:Class; "
            "see para-attn-server --help"
        )
    found_models(settings)
    sys.stdout.flush()
    # The controller takes this process's place, so that signals reach it and click and rich stay out of its memory.
    with held():  # until the controller has its handlers
        os.execve(sys.executable, python_command(DAEMON), settings.as_environment(os.environ))
