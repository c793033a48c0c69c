"""Text that a terminal only shows: control characters other than newline and tab are replaced."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor, or worse; a predictor may log what its clients write."""
    return _CONTROL.sub("?", "\n".join(text.splitlines()))
