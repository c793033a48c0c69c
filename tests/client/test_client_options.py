"""What the client says of a job besides its arguments."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scripted import Answer, scripted_server

from para_attn_server.cli import generate
from para_attn_server.client import Client, InvalidArgument
from para_attn_server.client.options import JobOptions, headers

MOMENT = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "header", "text"),
    [
        ({"ttl": 90}, "Job-TTL", "90.000000s"),
        ({"ttl": "5m"}, "Job-TTL", "5m"),
        ({"deadline": MOMENT}, "Job-Deadline", "2030-01-31T12:00:00+00:00"),
        ({"target": MOMENT}, "Job-Target", "2030-01-31T12:00:00+00:00"),
        ({"target": 0.5}, "Job-Target", "0.500000s"),
        ({"priority": "high"}, "Job-Priority", "high"),
        ({"idempotency_key": "mine"}, "Idempotency-Key", "mine"),
    ],
)
def test_options_become_headers(options: JobOptions, header: str, text: str) -> None:
    assert headers(options)[header] == text


def test_each_request_has_a_key_of_its_own_unless_one_is_given() -> None:
    assert headers({})["Idempotency-Key"] != headers({})["Idempotency-Key"]


@pytest.mark.parametrize(
    "options", [{"urgency": 1}, {"ttl": None}, {"deadline": datetime(2030, 1, 1)}, {"ttl": "5\nm"}]
)
def test_what_cannot_be_an_option_is_refused_by_name(options: Any) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        headers(options)


def test_an_argument_of_the_model_may_have_the_name_of_an_option() -> None:
    with scripted_server() as server, Client(server.url) as client:
        server.says(Answer(202, {"request_id": "ab"}))
        client.submit(options={"priority": "low", "idempotency_key": "k"}, priority="x", ttl=3)
        assert server.requests == [("POST", "/generate", {"priority": "x", "ttl": 3})]
        assert server.keys == ["k"]


def test_the_command_sends_the_options_that_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def submit(self: Client, *, options: Any = None, **kwargs: Any) -> str:
        sent.append((options, kwargs))
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "submit", submit)
    monkeypatch.setattr(Client, "schema", lambda *_: {"properties": {"prompt": {"type": "string"}}})
    monkeypatch.setattr(generate, "raise_interrupts", lambda: None)
    words = ["a", "star", "--priority", "high", "--ttl", "5m", "-o", str(tmp_path / "a.png")]
    CliRunner().invoke(generate.command, words)
    assert sent == [({"priority": "high", "ttl": "5m"}, {"prompt": "a star"})]
