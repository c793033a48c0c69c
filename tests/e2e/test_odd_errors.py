"""Exceptions that a predictor's own code gets wrong: their job fails, is told so, and costs no rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import RunningServer, shared_server

ODD_ERRORS = f"{Path(__file__).parents[1] / 'predictors' / 'odd_errors.py'}:OddErrorsPredictor"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server of the OddErrorsPredictor on two ranks."""
    yield from shared_server(ODD_ERRORS, tmp_path_factory.mktemp("odd"))


def error_of(server: RunningServer, **kwargs: Any) -> dict[str, Any]:
    """What such a job fails with; the ranks must live on and do the next job."""
    pids = [server.rank_pid(0), server.rank_pid(1)]
    result = server.result(server.submit(**kwargs))
    assert result.status_code == 500, result.text
    assert result.json()["type"].endswith(":job-failed"), result.text
    assert server.result(server.submit()).status_code == 200
    assert [server.rank_pid(0), server.rank_pid(1)] == pids
    error: dict[str, Any] = result.json()["error"]
    return error


@pytest.mark.parametrize("style", ["unknown", "rank 0", "rank 1"])
def test_a_validator_that_raises_on_any_rank_fails_the_job_also_after_a_cancel(odd: RunningServer, style: str) -> None:
    canceled = odd.submit(steps=1000)
    odd.wait_step(canceled, 2)
    assert odd.post(f"/cancel/{canceled}").status_code == 200
    assert odd.result(canceled).status_code == 410
    error = error_of(odd, style=style)
    assert (error["type"], error["message"]) == ("KeyError", repr(style))


def test_an_exception_whose_text_cannot_be_had_is_told_by_its_type(odd: RunningServer) -> None:
    error = error_of(odd, error="wordless")
    assert (error["type"], error["message"]) == ("Wordless", "Wordless")


def test_an_exception_whose_text_is_no_unicode_can_be_read(odd: RunningServer) -> None:
    assert error_of(odd, error="surrogate")["message"] == "cannot read caf?.png"


def test_a_predictor_that_saves_on_every_rank_makes_the_file_of_rank_zero(odd: RunningServer) -> None:
    job_id = odd.submit(late=True)
    assert odd.result(job_id).status_code == 200
    job = odd.status(job_id)
    assert job["status"] == "succeeded", job
    written = Path(job["output_path"])
    assert written.read_text() == "oil of rank 0"
    assert not list(written.parent.glob(".*")), "nothing of the other ranks stays"
    assert "beside the output" not in odd.log()


def test_ranks_whose_validators_make_different_arguments_do_not_begin(odd: RunningServer) -> None:
    assert error_of(odd, own=True)["type"] == "arguments_mismatch"
