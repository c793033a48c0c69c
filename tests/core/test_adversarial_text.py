"""Untrusted text meets no check whose time grows faster than the text: per place, a long one against a short one.

A bound in seconds would say more of the machine than of the check, so each is measured beside itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pytest
from flask import Flask
from pydantic import Field, TypeAdapter

from para_attn_server.cli.arguments import request_arguments
from para_attn_server.core.arguments.model import arguments_model
from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.errors import ServerError
from para_attn_server.core.settings import load_settings, parse_duration
from para_attn_server.http.kit import bodies
from para_attn_server.http.kit.waiting import wait_or_preference
from para_attn_server.http.native.handlers import _checked
from para_attn_server.http.native.headers import deadline, idempotency_key, metadata, priority, target
from para_attn_server.http.native.listing import wanted
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.rank.failures import describe, full_text

TIMES = 16
"""A long text is that many times a short one."""
SLACK = 4.0
"""Over what a check in one pass may take: a quadratic one takes TIMES times as long, each time that it is measured."""


def predict(
    output_path: str,
    prompt: Annotated[str, Field(pattern=r"^(a+)+$")] = "a",
    weights: Annotated[dict[Annotated[str, Field(pattern=r"^(a+)+$")], int], Field()] = {},  # noqa: B006
    shown: list[dict[str, int]] | None = None,
) -> None:
    """Patterns on which Python's engine takes for ever."""


VALIDATOR = RequestValidator(request_schema(arguments_model(predict)))
FORMATS = {
    name: RequestValidator({"type": "object", "properties": {"x": {"type": "string", "format": name}}})
    for name in ("date-time", "date", "time", "duration", "uuid", "uri", "ipv4", "ipv6")
}
APP = Flask(__name__)
FOLDER = OutputFolder(Path("/tmp"), allow_any=False, state_dir=Path("/tmp/none"))


def described(text: str) -> None:
    describe(ValueError(text), 0, None, "/out/a.png")


def as_header(read: Callable[[], Any], name: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        with APP.test_request_context(headers={name: text}):
            read()

    return check


def as_query(read: Callable[[], object], name: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        with APP.test_request_context(query_string={name: text}):
            read()

    return check


def as_body(text: str) -> None:
    body = text.encode()
    with APP.test_request_context(method="POST", data=body, content_type="application/json"):
        bodies.json_object()


def as_argument(name: str, wrap: Callable[[str], Any] = lambda text: text) -> Callable[[str], None]:
    return lambda text: VALIDATOR.validate({name: wrap(text)}) and None


FAILURES = ("a.b", "a/", "/a", "/a ", "/a/ b", "file:", "://", "a://", "Traceback (most recent call last)", " ", "\n")
ENDS = (("", ""), ("1", "x"), ("", "!"))
PLACES: dict[str, tuple[Callable[[str], Any], tuple[str, ...], int]] = {
    "a predictor's failure": (described, FAILURES, 4000),
    "its traceback": (lambda text: full_text(ValueError(text)), FAILURES, 20_000),
    "the name of its class": (lambda t: describe(type(t, (Exception,), {})(), 0, 1, "/o/a"), ("a", "/a"), 4000),
    "a duration": (parse_duration, ("1", " ", "1 ", "1.", "m"), 500),
    "Job-TTL": (as_header(deadline, "Job-TTL"), ("1", " ", "1.", "s"), 500),
    "Job-Deadline": (as_header(deadline, "Job-Deadline"), ("2030-", "1", ":", " ", "T"), 500),
    "Job-Target": (as_header(target, "Job-Target"), ("2030-", "1", ":", " ", "s"), 500),
    "Job-Metadata": (as_header(metadata, "Job-Metadata"), ("[", '{"a":', '"', "\\", "1", " "), 500),
    "Prefer": (as_header(wait_or_preference, "Prefer"), ("wait", ",", "wait=", " ", ";", '"', "1"), 4000),
    "a list's cursor": (as_query(wanted, "cursor"), ("A", "=", "-"), 1000),
    "a list's moment": (as_query(wanted, "created_after"), ("1", ".", "2030-", "T", " "), 1000),
    "Job-Priority": (as_header(priority, "Job-Priority"), ("high", " ", "\u0130"), 500),
    "Idempotency-Key": (as_header(idempotency_key, "Idempotency-Key"), ("a", " ", "\x7f"), 500),
    "a job's id": (_checked, ("0", "g", " "), 250),
    "a body": (as_body, ('"', "\\", '"\\', "[", "{", ",", '"a",', "1", " ", "-", "\n"), 4000),
    "an output's path": (
        lambda text: FOLDER.resolve(text, "0" * 32, ".png", 1.0),
        ("a/", "./", "a", "../", "\u00e9"),
        40_000,
    ),
    "a pattern": (as_argument("prompt"), ("a", "ab"), 4000),
    "a pattern of keys": (as_argument("weights", lambda text: {text + "b": 1}), ("a", "ab"), 4000),
    "a name that is not known": (lambda text: VALIDATOR.validate({text: 1}), ("prompt", "a", "~/"), 4000),
    "a value that is shown": (as_argument("shown", lambda text: [text, {text: [text]}]), ("a", '"', "\u00e9"), 4000),
    "words of the command": (lambda t: request_arguments([t, "a" + t + "=1"], [t], {}), ("a", "=", "a=", " "), 4000),
    "a setting": (lambda text: load_settings(**{text: 1}), ("port", "a_"), 2000),
    "a setting's value": (lambda text: load_settings(keep=text), ("1", " ", "1 "), 2000),
    **{
        f"the format {name}": (
            lambda text, v=check: v.validate({"x": text}),
            ("1", "a", ":", "-", "P1D", "[", "."),
            2000,
        )
        for name, check in FORMATS.items()
    },
}


def seconds(check: Callable[[str], Any], text: str) -> float:
    """The least of a few: whatever else runs here only adds to it."""
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()  # not the time that others take on a busy machine
        with suppress(ServerError, ValueError, Exception):
            check(text)
        best = min(best, time.thread_time() - began)
    return best


@pytest.mark.parametrize("place", PLACES)
def test_time_grows_no_faster_than_the_text(place: str) -> None:
    check, pieces, size = PLACES[place]
    for piece in pieces:
        for start, end in ENDS:
            texts = [start + piece * (times * size // len(piece)) + end for times in (1, TIMES)]
            measured = ([seconds(check, text) for text in texts] for _ in range(5))
            assert any(long <= SLACK * TIMES * max(short, 20e-6) for short, long in measured), (start, piece, end)


def test_keys_are_judged_by_their_pattern_as_the_ranks_judge_them() -> None:
    ranks = TypeAdapter(dict[Annotated[str, Field(pattern=r"^(a+)+$")], int])
    for weights in ({"aa": 1}, {"aa": 1, "b": 2}, {"aa\n": 1}, {"aa": "x"}, {}):
        web = rank = True
        try:
            ranks.validate_json(json.dumps(weights), strict=True)
        except ValueError:
            rank = False
        try:
            VALIDATOR.validate({"weights": weights})
        except ServerError:
            web = False
        assert web == rank, weights


def test_a_failure_of_any_length_is_told_in_the_time_of_a_short_one() -> None:
    reference = max(seconds(described, "a.b" * 1000), 20e-6)
    assert seconds(described, "a.b" * 10_000_000) < 100 * reference + 0.05
