"""JSON as responses have it."""

from __future__ import annotations

import json
from typing import Any

from flask.json.provider import DefaultJSONProvider


def dumps(value: Any) -> str:
    """Compact, members in the order in which they are written, ASCII only where it must be: what no UTF-8 can say, such
    as a byte of a file's name, is written as the escape that JSON has for it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=DefaultJSONProvider.default)
    return text.encode(errors="backslashreplace").decode()


class JSON(DefaultJSONProvider):
    """For Flask."""

    compact = True

    def dumps(self, obj: Any, **_kwargs: Any) -> str:
        """See above."""
        return dumps(obj)
