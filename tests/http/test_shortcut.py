"""Polls that are responded to below Flask: nobody can tell."""

from __future__ import annotations

import httpx
import pytest
from web import Web

from para_attn_server.core.errors import JobError

STATES = ("queued", "running", "succeeded", "failed", "canceled")


def job_in(web: Web, state: str) -> str:
    """The id of a job in that state."""
    if state == "queued":
        return web.submit()
    if state == "succeeded":
        return web.done()
    job_id = web.started()
    if state == "failed":
        web.controller.fail(job_id, JobError("exception", "broken"))
    elif state == "canceled":
        web.controller.cancel(job_id)
    return job_id


def seen(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """All that a client sees, but for what is another in each response."""
    changing = ("date", "x-request-id")
    return response.status_code, {k: v for k, v in response.headers.items() if k not in changing}, response.content


@pytest.mark.parametrize("route", ["request_status", "get_output"])
@pytest.mark.parametrize("state", STATES)
def test_a_poll_is_responded_to_as_by_flask(web: Web, route: str, state: str) -> None:
    path = f"/{route}/{job_in(web, state)}"
    short, long = web.get(path), web.get(path, params={"wait": "0"})
    assert seen(short) == seen(long)
    assert len(short.headers["x-request-id"]) == 32


@pytest.mark.parametrize("path", ["/request_status/", "/request_status/0123", "/request_status/X", "/get_output/a/b"])
def test_what_is_wrong_is_said_as_by_flask(web: Web, path: str) -> None:
    assert seen(web.get(path)) == seen(web.get(path, params={"wait": "0"}))


def test_the_head_of_a_status_has_no_body(web: Web) -> None:
    path = f"/request_status/{web.submit()}"
    assert seen(web.ask("HEAD", path))[:2] == seen(web.get(path))[:2]


def test_no_poll_escapes_the_rules_of_hosts(web: Web) -> None:
    path = f"/request_status/{web.submit()}"
    assert web.get(path, headers={"Host": "evil.example"}).status_code == 421
