"""The help pages teach, and the command line stays light."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from para_attn_server.cli.main import COMMANDS, command_line
from para_attn_server.core.errors import ExitCode
from para_attn_server.core.settings import SECTIONS, Settings

HEAVY = ("torch", "diffusers", "sqlalchemy", "flask", "gunicorn", "numpy", "rich", "httpx")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_examples_that_parse(command: str) -> None:
    page = CliRunner().invoke(command_line, [command, "--help"]).output
    examples = re.findall(r"^ +(?:\w+=\S+ )?para-attn-server (.+)$", page.partition("Examples:")[2], re.MULTILINE)
    assert examples
    options = set(re.findall(r"--[a-z-]+", page)) | {"--help"}
    for example in examples:
        assert set(re.findall(r"--[a-z-]+", example)) <= options, example
        assert command == "serve" or example.split()[0] == command


def test_the_main_page_lists_commands_and_exit_codes() -> None:
    page = CliRunner().invoke(command_line, ["--help"]).output
    commands, codes = page.partition("Commands:")[2], page.partition("Exit codes:")[2]
    for command in COMMANDS:
        assert re.search(rf"^ +{command} +[A-Z]", commands, re.MULTILINE)
    for code in ExitCode:
        assert re.search(rf"^ +{code.value} +\w", codes, re.MULTILINE)


def test_version_is_the_packages() -> None:
    assert version("para-attn-server") in CliRunner().invoke(command_line, ["--version"]).output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from para_attn_server.cli.main import main; sys.argv = ['x', '--help']\n"
        "try: main()\n"
        f"except SystemExit: print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n"), done.stdout[-200:]


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "para_attn_server", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("para-attn-server")


def test_every_setting_is_in_one_section_of_the_help_page() -> None:
    page = CliRunner().invoke(command_line, ["serve", "--help"]).output
    for title in SECTIONS.values():
        assert f"\n{title}:\n" in page
    for name in Settings.model_fields:
        assert len(re.findall(rf"^  --{name.replace('_', '-')} ", page, re.MULTILINE)) == 1, name
