"""A job's output as the last member of a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from io import BufferedReader
from typing import Any

from flask import Response

from para_attn_server.core.job import Output
from para_attn_server.http.kit.files import base64_between
from para_attn_server.http.kit.jsons import dumps


def output_in_json(output: Output, file: BufferedReader, body: Mapping[str, Any]) -> Response:
    """`body` with the file's base64 as `output`."""
    return base64_between(dumps(body)[:-1].encode() + b',"output":"', output, file, b'"}\n', "application/json")
