"""How the client asks how a job stands, and waits for its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import httpx

from para_attn_server.client.arguments import checked_id
from para_attn_server.client.errors import JobCanceled, JobFailed, RequestRefused, ServerUnavailable, WaitTimedOut
from para_attn_server.client.transport import Transport, body_of, checked, problem_kind

Progress = Callable[[dict[str, Any]], None]

FOLLOW = 0.1
"""Seconds between two polls of a job whose progress is followed."""
_LONG_POLL = 20.0
_LATE = 1.0  # seconds that the last response may come after the end of a wait
_ASK_AGAIN = 1.0  # seconds between two long polls, as the responses' Retry-After says


def path_of(route: str, request_id: str) -> str:
    """A route of one job."""
    return f"/{route}/{checked_id(request_id)}"


def look(
    transport: Transport, request_id: str, wait: float, silence: float, retry_for: float | None = None
) -> dict[str, Any]:
    """Its status. silence: seconds beyond `wait` that the server may take; retry_for: as for Transport.request."""
    response = transport.request(
        "GET",
        path_of("request_status", request_id),
        params={"wait": f"{wait:.3f}"} if wait else {},
        timeout=wait + silence,
        retry_for=retry_for,
    )
    body = body_of(response)
    if problem_kind(body) == "job-canceled":
        return {"request_id": request_id, "status": "canceled", "step": body.get("step")}
    if problem_kind(body) == "job-failed":
        known: dict[str, Any] = {key: body[key] for key in ("error", "attempts", "timings") if key in body}
        return {"request_id": request_id, "status": "failed", **known}
    return checked(response, "request_id", "status")


def wait(transport: Transport, request_id: str, timeout: float | None, on_progress: Progress | None) -> dict[str, Any]:
    """The status of a job that has succeeded, once it has, as `Client.wait` describes it."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    hold = _LONG_POLL if on_progress is None else FOLLOW
    while True:
        began = time.monotonic()
        try:
            status = _look_until(transport, end, request_id, hold)
        except ServerUnavailable as error:
            if error.again and (end - began < transport.retry_for or time.monotonic() >= end):
                raise WaitTimedOut(f"job {request_id} was not seen to end within {timeout:g} s: {error}") from error
            raise
        if on_progress is not None:
            on_progress(status)
        if status["status"] not in ("queued", "running"):
            return _checked_end(status)
        if time.monotonic() >= end:
            raise WaitTimedOut(f"job {request_id} is still {status['status']} after {timeout:g} s")
        # A server that is stopping, or where as many wait as may, answers at once, whatever the wait.
        pause = min(FOLLOW if on_progress else _ASK_AGAIN, end - time.monotonic()) - (time.monotonic() - began)
        transport.sleep(max(0.0, pause))


def ended(request_id: str, response: httpx.Response) -> httpx.Response:
    """An answer that holds a job's output; raises what else it means."""
    if response.status_code == httpx.codes.OK:
        return response
    body = body_of(response)
    if problem_kind(body) == "job-canceled":
        raise JobCanceled(request_id)
    if problem_kind(body) == "job-failed":
        raise JobFailed(request_id, body.get("error", {}))
    if response.status_code == httpx.codes.ACCEPTED:
        raise RequestRefused(202, {"title": "No output yet", "detail": f"the job is {body.get('status')}"})
    checked(response)
    return response


def _look_until(transport: Transport, end: float, request_id: str, hold: float) -> dict[str, Any]:
    """The status, with what is left until `end` as the limit of the wait, of silence and of retry_for."""

    def once() -> dict[str, Any]:
        left = max(0.0, end - time.monotonic())
        wait = min(hold, left)
        return look(transport, request_id, wait, min(transport.timeout, max(left - wait, _LATE)), retry_for=0.0)

    return transport.retrying(once, min(transport.retry_for, max(0.0, end - time.monotonic())))


def _checked_end(status: dict[str, Any]) -> dict[str, Any]:
    if status["status"] == "canceled":
        raise JobCanceled(status["request_id"])
    if status["status"] == "failed":
        raise JobFailed(status["request_id"], status.get("error", {}))
    return status
