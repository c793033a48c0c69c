"""The request schema: what ranks use of core/arguments/, in which predict's signature becomes it.

Web workers check with service/validation.py; the daemon imports neither.
"""

from __future__ import annotations

from para_attn_server.core.arguments import OUTPUT_PATH, SEED
from para_attn_server.core.arguments.model import (
    arguments_model,
    compared_by_input,
    digest,
    dumped,
    parsed,
    validated,
    values,
)
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.arguments.signature import output_path_type

__all__ = [
    "OUTPUT_PATH",
    "SEED",
    "arguments_model",
    "compared_by_input",
    "digest",
    "dumped",
    "output_path_type",
    "parsed",
    "request_schema",
    "validated",
    "values",
]
