"""How a client follows what grows, such as a job's log: by a cursor that each response hands out."""

from __future__ import annotations

import re
from typing import Any

from flask import request

from para_attn_server.core.errors import FieldError, InvalidInput

LOG_NEXT = "X-Log-Next"
JOB_STATUS = "X-Job-Status"
_CURSOR = re.compile(r"[0-9]{1,18}")

AFTER_PARAMETER: dict[str, Any] = {
    "name": "after",
    "in": "query",
    "description": f"Only what comes behind this cursor: the {LOG_NEXT} of the response before.",
    "schema": {"type": "integer", "minimum": 0},
}
"""As GET /openapi.json describes it."""


def after() -> int:
    """The query's `after`, 0 when left out; raises InvalidInput unless it is a cursor."""
    text, *further = request.args.getlist("after") or ["0"]
    if further or not _CURSOR.fullmatch(text):
        raise InvalidInput([FieldError("after", f"must be a cursor: the {LOG_NEXT} of an earlier response")])
    return int(text)
