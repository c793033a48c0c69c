"""GET /jobs/<id>/log, and who reads it: the client and its command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner
from web import Web

from para_attn_server.cli.log import command
from para_attn_server.client import Client, RequestRefused
from para_attn_server.core.errors import JobError
from para_attn_server.service.service import LOG_ROWS_AT_ONCE
from para_attn_server.stores.base import LogRow, LogWrite


def write(web: Web, job_id: str, *data: dict[str, Any], kind: str = "log") -> Sequence[int]:
    """Rows in a job's log, as the controller writes them; their ids."""
    return web.controller.store.log(LogWrite([LogRow(job_id, kind, time.time(), each) for each in data]))


def failed(web: Web) -> str:
    """A job that has logged, and failed."""
    job_id = web.started()
    write(web, job_id, {"text": "one"}, {"left_out": 950}, {"text": "zwei ☉\nand more"})
    write(web, job_id, {"rank": 1, "text": "Traceback ...\nValueError: no\n"}, kind="traceback")
    web.controller.fail(job_id, JobError("ValueError", "no"))
    return job_id


FAILED = "one\n... 950 lines are left out ...\nzwei ☉\nand more\nRank 1 failed:\nTraceback ...\nValueError: no\n"


def test_a_failed_jobs_log_ends_with_its_traceback(web: Web) -> None:
    answer = web.client.get(f"/jobs/{failed(web)}/log")
    assert answer.status_code == 200 and answer.text == FAILED
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-job-status"] == "failed"


def test_a_log_is_read_on_from_where_it_was_left(web: Web) -> None:
    job_id = web.started()
    ids = write(web, job_id, {"text": "one"}, {"text": "two"})
    first = web.get(f"/jobs/{job_id}/log")
    assert (first.text, first.headers["x-log-next"]) == ("one\ntwo\n", str(ids[-1]))
    assert first.headers["x-job-status"] == "running"
    again = web.get(f"/jobs/{job_id}/log", params={"after": ids[-1]})
    assert (again.text, again.headers["x-log-next"]) == ("", str(ids[-1]))
    (last,) = write(web, job_id, {"text": "three"})
    more = web.get(f"/jobs/{job_id}/log", params={"after": ids[-1]})
    assert (more.text, more.headers["x-log-next"]) == ("three\n", str(last))
    assert web.get(f"/jobs/{job_id}/log", params={"after": ids[0]}).text == "two\nthree\n"


def test_a_job_without_a_log_has_an_empty_one(web: Web) -> None:
    answer = web.get(f"/jobs/{web.submit()}/log")
    assert (answer.text, answer.headers["x-log-next"], answer.headers["x-job-status"]) == ("", "0", "queued")


def test_a_long_log_is_read_whole(web: Web) -> None:
    job_id = web.started()
    lines = [{"text": str(number)} for number in range(2 * LOG_ROWS_AT_ONCE + 1)]
    write(web, job_id, *lines)
    assert web.get(f"/jobs/{job_id}/log").text.splitlines() == [line["text"] for line in lines]


@pytest.mark.parametrize("after", ["", "-1", "1.5", "x", "1" * 19, "²"])
def test_what_is_not_a_cursor_is_refused_by_name(web: Web, after: str) -> None:
    answer = web.get(f"/jobs/{web.submit()}/log", params={"after": after})
    assert answer.status_code == 400
    assert [error["parameter"] for error in answer.json()["errors"]] == ["after"]


@pytest.mark.parametrize("job_id", ["0" * 32, "nothing"])
def test_an_unknown_job_has_no_log(web: Web, job_id: str) -> None:
    answer = web.get(f"/jobs/{job_id}/log")
    assert answer.status_code == 404 and answer.json()["type"].endswith("job-not-found")


def test_the_client_follows_a_log_to_the_jobs_end(web: Web) -> None:
    job_id = web.started()
    write(web, job_id, {"text": "one"})
    looks = []

    def sleep(_seconds: float) -> None:
        looks.append(0)
        if len(looks) <= 2:
            write(web, job_id, {"text": f"look {len(looks)}"})
        if len(looks) == 2:
            web.controller.succeed(job_id)  # seen by the web server a moment later

    with Client(str(web.client.base_url), sleep=sleep) as client:
        assert list(client.log(job_id)) == ["one"]
        assert list(client.log(job_id, follow=True)) == ["one", "look 1", "look 2"]
        with pytest.raises(RequestRefused, match="No such job"):
            list(client.log("0" * 32))


@pytest.mark.parametrize("options", [[], ["-f"]])
def test_the_command_shows_a_log(web: Web, options: list[str]) -> None:
    done = CliRunner().invoke(command, [failed(web), *options, "--url", str(web.client.base_url)])
    assert (done.exit_code, done.stdout) == (0, FAILED)
