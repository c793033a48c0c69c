"""Where commands print their tables. Loads rich, so it is imported where something is printed."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_WIDE = 10_000


def make_console() -> Console:
    """As wide as the terminal; into a file or a pipe each row is one line, however long."""
    cuts = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console() if cuts else Console(width=_WIDE)
