"""Requests that are repeated with care: never so that a job is made twice.

A GET, an upload, or a POST with an Idempotency-Key, is repeated after any break of the connection and after 429, 502,
503, 504. Any other POST, and a DELETE, is repeated only when nothing was sent, or when the server answered 429 or 503:
it did not take the work.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import httpx
import tenacity

from para_attn_server.client.errors import RequestRefused, ServerUnavailable
from para_attn_server.core.errors import UsageError

IDEMPOTENCY_KEY = "Idempotency-Key"
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_AGAIN = {
    "GET": frozenset({429, 502, 503, 504}),
    "POST": frozenset({429, 503}),
    "DELETE": frozenset({429, 503}),
}
_URL = re.compile(
    r"(?:https?://)?(?:[^/?#@\s]+@)?(?:\[[^]/?#@\s]+\]|[^][/?#@:\s]+)(?::\d{1,5})?(?:/[^?#\s]*)?", re.IGNORECASE
)
_T = TypeVar("_T")
_BACKOFF = tenacity.wait_exponential(multiplier=0.1, max=5.0) + tenacity.wait_random(0.0, 0.1)


class Transport:
    """One server's HTTP connections.

    timeout: seconds that the server may be silent. retry_for: seconds to go on repeating one request.
    sleep: how to pass the time between repetitions. Raises UsageError where the URL cannot be a server's.
    """

    def __init__(self, url: str, timeout: float, retry_for: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = server_url(url)
        self.timeout = timeout
        self.retry_for = retry_for
        self.sleep = sleep
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout,
            # Shorter than a server keeps an idle connection: no POST meets one that is just being closed.
            limits=httpx.Limits(keepalive_expiry=1.0),
            # A proxy from the environment cannot reach this machine's loopback.
            trust_env=not _is_loopback(httpx.URL(self.url).host),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        timeout: float | None = None,
        retry_for: float | None = None,
        again: frozenset[int] | None = None,
        harmless: bool = False,
        **more: Any,
    ) -> httpx.Response:
        """The answer, whatever its status, but for those that are worth a repetition and retry_for ran out.

        timeout and retry_for: seconds, if not the client's. again: statuses after which to repeat, if not those of the
        method. harmless: whether it may be heard twice, as a GET may. more: as httpx takes it (json, params, headers).
        Raises ServerUnavailable.
        """
        harmless = harmless or method == "GET" or IDEMPOTENCY_KEY in more.get("headers", ())
        repeat = again if again is not None else _AGAIN["GET" if harmless else method]
        request = self._http.build_request(method, path, timeout=timeout or self.timeout, **more)

        def once() -> httpx.Response:
            try:
                response = self._http.send(request)
            except httpx.HTTPError as error:
                self._unavailable(error, harmless)
            _raise_if_busy(response, repeat)
            return response

        return self.retrying(once, retry_for)

    def download(self, path: str, file: Path) -> httpx.Response:
        """Stream a 200 answer's body into `file`; any other answer is returned with its body read and nothing written.

        Raises ServerUnavailable, and OSError where the file cannot be written.
        """

        def once() -> httpx.Response:
            try:
                with self._http.stream("GET", path) as response:
                    if response.status_code != httpx.codes.OK:
                        response.read()
                        _raise_if_busy(response, _AGAIN["GET"])
                        return response
                    if "Content-Disposition" not in response.headers:
                        raise ServerUnavailable(_reason(response, {}))
                    with file.open("wb") as out:
                        for block in response.iter_bytes(1 << 16):
                            out.write(block)
                    return response
            except httpx.HTTPError as error:
                self._unavailable(error, harmless=True)

        return self.retrying(once)

    def lines(self, path: str, headers: dict[str, str], silence: float) -> Iterator[str]:
        """The lines of a stream of events as they come, after an empty one; nothing at all for a 204.

        silence: seconds that the server may say nothing. Not repeated. Raises RequestRefused or ServerUnavailable.
        """
        timeout = httpx.Timeout(self.timeout, read=silence)
        try:
            with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                if response.headers.get("Content-Type", "").partition(";")[0] != "text/event-stream":
                    response.read()
                    _raise_if_busy(response, _AGAIN["GET"])
                    checked(response)
                    raise ServerUnavailable(_reason(response, {}))
                yield ""
                rest = b""
                for block in response.iter_bytes():
                    *lines, rest = (rest + block).split(b"\n")  # not splitlines(): JSON may have other line breaks
                    yield from (line.decode() for line in lines)
        except httpx.HTTPError as error:
            self._unavailable(error, harmless=True)

    def retrying(self, once: Callable[[], _T], retry_for: float | None = None) -> _T:
        """What `once` returns, called anew for as long as it raises a ServerUnavailable that is worth a repetition.

        retry_for: seconds, if not the client's. Raises the last ServerUnavailable.
        """
        limit = self.retry_for if retry_for is None else retry_for
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ServerUnavailable) and error.again),
            wait=_pause,
            stop=lambda state: max(state.idle_for, state.seconds_since_start or 0.0) + state.upcoming_sleep > limit,
            sleep=self.sleep,
            reraise=True,
        )(once)

    def _unavailable(self, error: httpx.HTTPError, harmless: bool) -> NoReturn:
        again = isinstance(error, httpx.TransportError) and (harmless or isinstance(error, _NOTHING_SENT))
        if isinstance(error, httpx.UnsupportedProtocol):
            again = False
        reason = (
            "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        )
        place = httpx.URL(self.url).copy_with(userinfo=b"")  # the password is for a proxy, not for a log
        raise ServerUnavailable(f"the server at {place} cannot be reached: {reason}", again) from error


def server_url(text: str) -> str:
    """A server's URL in full; raises UsageError for what cannot be one. Without a scheme it is http."""
    if isinstance(text, str) and _URL.fullmatch(text):
        full = (text if "://" in text else f"http://{text}").rstrip("/")
        try:
            port = httpx.URL(full).port
        except httpx.InvalidURL:
            port = 0
        if port is None or 0 < port < 1 << 16:
            return full
    shown = text.rpartition("@")[2] if isinstance(text, str) else text  # without a password
    raise UsageError(f"{shown!r} is not a server's URL; give one such as http://127.0.0.1:5000")


def body_of(response: httpx.Response) -> dict[str, Any]:
    """An answer's JSON object; empty where it has none."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def checked(response: httpx.Response, *members: str) -> dict[str, Any]:
    """The JSON object of a 2xx answer; raises RequestRefused for 4xx, ServerUnavailable for 5xx or no `members`."""
    body = body_of(response)
    if response.is_success and body and body.keys() >= set(members):
        return body
    if response.is_client_error:
        raise RequestRefused(response.status_code, body)
    raise ServerUnavailable(_reason(response, body))


def checked_log(response: httpx.Response) -> tuple[str, str]:
    """The text of a part of a job's log, and the cursor of the next; raises as `checked` does."""
    after = response.headers.get("X-Log-Next", "")
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not response.is_success:
        checked(response)
    if kind != "text/plain" or not (after.isascii() and after.isdecimal()):
        raise ServerUnavailable(_reason(response, {}))
    return response.text, after


def problem_kind(body: dict[str, Any]) -> str:
    """The last part of a problem's type, such as `job-failed`; empty where the body is no problem."""
    return str(body.get("type", "")).rpartition(":")[2]


def _raise_if_busy(response: httpx.Response, repeat: frozenset[int]) -> None:
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.status_code in _AGAIN["GET"]:
        after = response.headers.get("Retry-After", "")
        reason = _reason(response, body_of(response))
        raise ServerUnavailable(reason, response.status_code in repeat, float(after) if after.isdecimal() else None)


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: what the server asks for, and never less than the backoff."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, ServerUnavailable) else None
    return max(_BACKOFF(state), asked or 0.0)


def _reason(response: httpx.Response, body: dict[str, Any]) -> str:
    if response.is_success:
        return f"{response.url.copy_with(userinfo=b'')} answers, but is not a para-attn-server"
    return f"{body.get('title', f'HTTP status {response.status_code}')}: {body.get('detail', 'no reason given')}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
