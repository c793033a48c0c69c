"""Asks a short-lived child process for what this process must not import: torch, diffusers, predictors."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from para_attn_server.core.errors import ServerError
from para_attn_server.core.process import python_command


def ask(module: str, *arguments: str, timeout: float = 180.0, environment: Mapping[str, str] | None = None) -> Any:
    """The JSON that `python -m module` prints; raises ServerError with its last words where it prints none.

    timeout: seconds; a first import of torch from a cold disk may take a minute. environment: its, if not this one's.
    """
    try:
        done = subprocess.run(
            python_command(module, *arguments),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServerError(f"python -m {module} did not respond within {timeout:g} s") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ServerError(f"python -m {module} failed: {last}") from None
