"""What the app does when something below it breaks; without processes."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fake_service import service_with

from para_attn_server.core.errors import IllegalTransition, StoreUnavailable
from para_attn_server.core.settings import Settings
from para_attn_server.http.app import create_app
from para_attn_server.stores.sqlite import full

PATH = "/somewhere/secret/jobs.sqlite3"


def answer_to(error: Exception) -> Any:
    """The answer to GET /readyz when the service raises that."""

    def readiness(_: object) -> None:
        raise error

    return create_app(service_with(readiness=readiness), Settings(model="m")).test_client().get("/readyz")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError(f"{PATH} is strange"), 500),
        (IllegalTransition(f"{PATH} no"), 500),
        (StoreUnavailable(f"{PATH} is locked"), 503),
        (RecursionError(), 500),
    ],
)
def test_an_error_inside_is_logged_and_not_told(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = answer_to(error)
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert PATH not in answer.text
    assert "Traceback" not in answer.text
    record = caplog.records[-1]
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_store_that_refuses_is_said_with_its_reason_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answers = [answer_to(full(PATH)) for _ in range(3)]
    for answer in answers:
        assert answer.json["type"].endswith(":store-unusable")
        assert answer.json["detail"] == "the disk of the state directory is full: free some space"
    (record,) = caplog.records
    assert PATH in record.getMessage() and record.exc_info is None
