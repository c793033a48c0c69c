"""The command `para-attn-server`: serves unless a subcommand is named. Each subcommand lives in a file of its own.

The page of `--help` needs every subcommand's file. So these import httpx and rich, which take half as long again as
all the rest, in the functions that use them; everything else at the top.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click

from para_attn_server.core.errors import ExitCode, ServerError
from para_attn_server.core.signals import INTERRUPTED

COMMANDS = ("serve", "try", "agent", "generate", "status", "jobs", "cancel", "log", "predictors", "db", "doctor")

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_EXIT_CODES = """\b
Exit codes:
  0    done; for the server: stopped cleanly
  1    a job failed or was canceled, the server could not be reached or
       refused, doctor found a problem, or db check another schema
  2    usage: a wrong option, setting or model name
  3    setup failed: the predictor could not be set up
  4    port taken: the address cannot be listened on
  5    state directory or store: in use by another server, unusable, or
       written by a newer version
  130  interrupted with Ctrl-C (generate cancels its job first; a server
       had not begun to serve)
  143  ended by SIGTERM before it had begun to serve
"""


class CommandLine(click.Group):
    """A group that serves when the first word is an option of serve, and imports a command only when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"para_attn_server.cli.{cmd_name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `serve` in front of options that are not the group's own."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, then the options of serve: they may be given without its name."""
        self.format_commands(ctx, formatter)
        serve = self.get_command(ctx, "serve")
        if serve is not None:
            serve.format_options(ctx, formatter)


@click.group(cls=CommandLine, epilog=_EXIT_CODES, context_settings=_CONTEXT)
@click.version_option(package_name="para-attn-server", prog_name="para-attn-server")
def command_line() -> None:
    """Serve a diffusers pipeline that runs on several GPUs at once.

    Without a command it serves the predictor named by --model, until Ctrl-C or SIGTERM.

    \b
    Examples:
      para-attn-server --model demo --num-devices 2
      para-attn-server generate "a large red circle on a blue background"
      para-attn-server status
      para-attn-server doctor --model flux
      para-attn-server COMMAND --help
    """


def main() -> NoReturn:
    """Run the command and exit; every expected error becomes one plain line on stderr and an exit code."""
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries again at its end, and says so
        _fail(f"cannot write to standard output: {error.strerror}", 1)


def _run() -> NoReturn:
    try:
        sys.exit(command_line(prog_name="para-attn-server", standalone_mode=False))
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "para-attn-server"
        _fail(f"{error.format_message().rstrip('.')}; see {path} --help", ExitCode.USAGE)
    except ServerError as error:
        _fail(str(error), error.exit_code)
    except click.Abort:
        _fail("interrupted", INTERRUPTED)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"para-attn-server: {message}", err=True)
    sys.exit(code)
