"""Job-Deadline in each form that RFC 3339 allows."""

from __future__ import annotations

import pytest
from flask import Flask

from para_attn_server.core.errors import InvalidInput
from para_attn_server.http.native.headers import deadline

NOON = 1896091200.0  # 2030-01-31T12:00:00Z
NEW_YEAR = 1893456000.0  # 2030-01-01T00:00:00Z


def moment(text: str) -> float | None:
    with Flask(__name__).test_request_context(headers={"Job-Deadline": text}):
        return deadline()


@pytest.mark.parametrize("separator", ["T", "t", " "])
@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("12:00:00Z", NOON),
        ("12:00:00z", NOON),
        ("12:00:00+00:00", NOON),
        ("12:00:00-00:00", NOON),
        ("12:00:00.5Z", NOON + 0.5),
        ("12:00:00.123456789012z", NOON + 0.123456),
        ("22:30:00+10:30", NOON),
        ("11:59:60-00:00", NOON),
        ("11:59:60.25Z", NOON + 0.25),
        ("00:01:00-11:59", NOON),
    ],
)
def test_a_moment_has_many_forms(separator: str, time: str, expected: float) -> None:
    assert moment(f"2030-01-31{separator}{time}") == pytest.approx(expected, abs=2e-6)


def test_a_leap_second_is_the_one_after_the_59th() -> None:
    assert moment("2029-12-31T23:59:60Z") == NEW_YEAR
    assert moment("9999-12-31T23:59:60-23:59") is not None


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-31T12:00:00",
        "2030-01-31",
        "2030-01-31T12:00:61Z",
        "2030-02-30T12:00:60Z",
        "\u0662030",
        "",
        "z",
        "20300131T120000Z",
        "2030-01-31T12Z",
        "2030-01-31T12:00Z",
        "2030-W05-4T12:00:00Z",
        "2030-01-31x12:00:00Z",
        "2030-01-31T12:00:00+00",
        "2030-01-31T12:00:00,5Z",
        "2030-01-31T24:00:00Z",
    ],
)
def test_what_is_no_moment_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"Job-Deadline.*RFC 3339"):
        moment(text)
