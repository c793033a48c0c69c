"""Anything but Linux: one sentence, at install and at start."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from para_attn_server import ParaAttentionServer
from para_attn_server.cli.main import command_line
from para_attn_server.core.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")


def test_installing_says_that_it_runs_on_linux_only() -> None:
    with pytest.raises(SystemExit, match=r"^para-attn-server runs on Linux only"):
        runpy.run_path(str(ROOT / "setup.py"))


def test_the_command_and_the_python_api_say_it_at_the_start() -> None:
    result = CliRunner().invoke(command_line, ["--model", "demo"])
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith("para-attn-server runs on Linux only, not on darwin")
    with pytest.raises(UsageError, match="runs on Linux only"):
        ParaAttentionServer("demo")
