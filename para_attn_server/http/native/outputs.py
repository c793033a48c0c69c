"""A job's output as the client wants it: the file itself, or the last member of a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from io import BufferedReader
from typing import Any

from flask import Response, request

from para_attn_server.core.job import Job, Output
from para_attn_server.http.kit.files import base64_between
from para_attn_server.http.kit.jsons import dumps


def output_in_json(output: Output, file: BufferedReader, body: Mapping[str, Any]) -> Response:
    """`body` with the file's base64 as `output`."""
    return base64_between(dumps(body)[:-1].encode() + b',"output":"', output, file, b'"}\n', "application/json")


def file_wanted(job: Job) -> int | None:
    """Which of the job's outputs the header Accept asks for as it is; None where it asks for JSON, or as much for that.

    A response in a media type that was not asked for is better than none, so nothing is refused here.
    """
    accepted = request.accept_mimetypes
    json = accepted.quality("application/json")
    fitting = (n for n, output in enumerate(job.outputs) if accepted.quality(output.media_type) > json)
    return next(fitting, None)
