"""A small synchronous client of the server's native dialect.

    with Client("http://127.0.0.1:5000") as client:
        client.generate("circle.png", prompt="a large red circle")

It knows the JSON shapes; `transport.py` knows what may be repeated, `errors.py` what is raised.
"""

from __future__ import annotations

import math
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from typing_extensions import Unpack

from para_attn_server.client import files
from para_attn_server.client.arguments import as_json, checked_id
from para_attn_server.client.errors import (
    ClientError,
    InvalidArgument,
    JobCanceled,
    JobFailed,
    RequestRefused,
    ServerUnavailable,
    WaitTimedOut,
)
from para_attn_server.client.events import follow
from para_attn_server.client.options import JobFilters, JobOptions, headers, query
from para_attn_server.client.transport import Transport, body_of, checked, checked_log, problem_kind
from para_attn_server.client.uploads import with_ids

__all__ = [
    "Client",
    "ClientError",
    "InvalidArgument",
    "JobCanceled",
    "JobFailed",
    "JobFilters",
    "JobOptions",
    "RequestRefused",
    "ServerUnavailable",
    "WaitTimedOut",
]

Progress = Callable[[dict[str, Any]], None]

_LONG_POLL = 20.0
_PAGE = 100
_LATE = 1.0  # seconds that the last answer may come after the end of a wait
_FOLLOW_LOG = 0.5  # seconds between two polls of a followed log
_ASK_AGAIN = 1.0  # seconds between two long polls, as the answers' Retry-After says
_FOLLOW = 0.1  # seconds between two polls of a job whose progress is followed
_CANCEL_TIMEOUT = 120.0  # a cancel is answered when all ranks have left the job


class Client:
    """One server's client. A context manager; `close()` does the same.

    url: of the server; raises UsageError for what cannot be one.
    timeout: seconds that the server may be silent. retry_for: seconds to go on repeating one request when the server
    cannot be reached or is too busy. sleep: how to pass the time between (tests choose it).
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:5000",
        timeout: float = 30.0,
        *,
        retry_for: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = Transport(url, timeout, retry_for, sleep)
        self.url = self._transport.url

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # --- jobs ---

    def submit(self, *, options: JobOptions | None = None, **kwargs: Any) -> str:
        """Queue a job; returns its request id.

        options: of the job, such as {"priority": "high", "ttl": "5m"}. kwargs: the arguments that `schema()` lists.
        A Path is uploaded, where the argument takes a picture, video or sound; bytes are sent as base64. The request
        has an Idempotency-Key, so that its repetition after a broken connection makes no second job.
        Raises RequestRefused, which names each wrong argument, and its kind InvalidArgument for what JSON does not
        have, before the job is sent.
        """
        named = headers(options or {})
        arguments = as_json(with_ids(kwargs, self.schema, lambda path: str(self.upload(path)["id"])))
        answer = self._transport.request("POST", "/generate", json=arguments, headers=named)
        return str(checked(answer, "request_id")["request_id"])

    def upload(self, file: str | Path | bytes) -> dict[str, Any]:
        """Keep a picture, video or sound on the server, for jobs to take: its `id`, `kind`, `media_type` and size.

        file: a path, or the content. The `id` is the value of an argument that takes such a file, in any number of
        jobs. An upload that no job has used is removed after an hour. Raises RequestRefused for what the server does
        not accept, and OSError where the file cannot be read.
        """
        data = file if isinstance(file, bytes) else Path(file).read_bytes()
        binary = {"Content-Type": "application/octet-stream"}
        # The same bytes are the same upload: it does no harm to send them twice.
        answer = self._transport.request("POST", "/uploads", content=data, headers=binary, harmless=True)
        return checked(answer, "id", "kind", "media_type")

    def status(self, request_id: str, wait: float = 0.0) -> dict[str, Any]:
        """How a job stands: `request_id`, `status` and what is known of it; a failed one has `error`.

        wait: seconds, at most 60, for which the server may hold its answer until the job ends.
        """
        return self._look(request_id, wait, self._transport.timeout)

    def wait(
        self, request_id: str, timeout: float | None = None, on_progress: Progress | None = None
    ) -> dict[str, Any]:
        """The status of a job that has succeeded, once it has.

        timeout: seconds, None for as long as it takes; it holds, within a second, also while the server is away.
        on_progress: called with each status seen, the last one too.
        Raises JobFailed, JobCanceled, WaitTimedOut, and ServerUnavailable where retry_for ends before the timeout.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        hold = _LONG_POLL if on_progress is None else _FOLLOW
        while True:
            began = time.monotonic()
            try:
                status = self._look_until(end, request_id, hold)
            except ServerUnavailable as error:
                if error.again and (end - began < self._transport.retry_for or time.monotonic() >= end):
                    raise WaitTimedOut(f"job {request_id} was not seen to end within {timeout:g} s: {error}") from error
                raise
            if on_progress is not None:
                on_progress(status)
            if status["status"] not in ("queued", "running"):
                return _succeeded(status)
            if time.monotonic() >= end:
                raise WaitTimedOut(f"job {request_id} is still {status['status']} after {timeout:g} s")
            # A server that is stopping, or where as many wait as may, answers at once, whatever the wait.
            pause = min(_FOLLOW if on_progress else _ASK_AGAIN, end - time.monotonic()) - (time.monotonic() - began)
            self._transport.sleep(max(0.0, pause))

    def result(self, request_id: str) -> dict[str, Any]:
        """A succeeded job: its `output` as bytes, `file_type`, `size`, `sha256`, `seed`, `timings` and more.

        Raises JobFailed and JobCanceled, and RequestRefused where the job has not ended or its file is gone.
        """
        answer = self._transport.request("GET", _path("get_output", request_id))
        body = checked(self._ended(request_id, answer), "output")
        return {**body, "output": b64decode(body["output"])}

    def save(self, request_id: str, path: str | Path, index: int = 0) -> Path:
        """Write a succeeded job's output to `path`, under a temporary name until it is whole; returns where it is.

        index: which of its outputs, from 0. path: a file, or a folder to save in under the job's name (it is made where
        the path ends with a slash). A file that is replaced keeps its mode, a symlink is followed, and a device or FIFO
        is written to.
        Raises what `result` raises, and OSError where the file cannot be written.
        """

        def download(file: Path) -> str:
            route = _path("outputs", request_id) + (f"/{index}" if index else "")
            answer = self._ended(request_id, self._transport.download(route, file))
            return f"{request_id}{files.suffix_of(answer.headers['Content-Disposition'])}"

        return files.save(path, download)

    def save_all(self, request_id: str, path: str | Path) -> list[Path]:
        """Write all outputs of a succeeded job: the first one as `save` does, the others beside it with a number in
        their names, such as `star-1.png`. Where `path` is a device or FIFO, the first one only.

        Raises what `save` raises.
        """
        return self._save_all(request_id, path, self.status(request_id).get("outputs", ()))

    def generate(
        self,
        path: str | Path | None = None,
        on_progress: Progress | None = None,
        *,
        options: JobOptions | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Submit a job, wait until it has succeeded, save its outputs to `path` if given; returns its status.

        path: as for `save_all`. Raises what `submit`, `wait` and `save` raise.
        """
        request_id = self.submit(options=options, **kwargs)
        status = self.wait(request_id, on_progress=on_progress)
        if path is not None:
            self._save_all(request_id, path, status.get("outputs", ()))
        return status

    def jobs(self, limit: int | None = None, **filters: Unpack[JobFilters]) -> Iterator[dict[str, Any]]:
        """The newest jobs first: their status, `outputs` and `error`; asked for page by page.

        limit: how many at most. filters: such as status="failed". Raises RequestRefused.
        """
        asked, left = query(filters), math.inf if limit is None else limit
        while left > 0:
            page = self._page({**asked, "limit": str(int(min(left, _PAGE)))})
            yield from page["jobs"]
            left -= len(page["jobs"])
            if page["next_cursor"] is None:
                return
            asked["cursor"] = page["next_cursor"]

    def job(self, request_id: str) -> dict[str, Any]:
        """All that is known of a job, also of one that has failed: its `arguments`, `outputs`, `error`, `history`.

        Raises RequestRefused if the job does not exist.
        """
        return checked(self._transport.request("GET", _path("jobs", request_id)), "request_id", "status", "outputs")

    def delete(self, request_id: str) -> None:
        """Delete a job that has ended, and its files on the server; raises RequestRefused where that cannot be."""
        checked(self._transport.request("DELETE", _path("jobs", request_id)), "deleted")

    def cancel(self, request_id: str | None = None) -> dict[str, Any]:
        """Cancel a job (None: the oldest running one) and wait until it has ended; returns its status then.

        The status is `running` still where the job has not left within the server's --cancel-timeout.
        Raises RequestRefused when there is nothing to cancel.
        """
        if request_id is not None:
            answer = self._transport.request("POST", _path("cancel", request_id), timeout=_CANCEL_TIMEOUT)
            return checked(answer, "request_id", "status")
        # Repeated after a 503 it could hit the next job, if the first order was heard after all.
        answer = self._transport.request("POST", "/cancel", timeout=_CANCEL_TIMEOUT, again=frozenset())
        return checked(answer, "request_id", "status")

    def log(self, request_id: str, follow: bool = False) -> Iterator[str]:
        """The lines of a job's log; of a failed job it ends with the traceback.

        follow: until the job has ended, as they come. Raises RequestRefused if the job does not exist.
        """
        after, ended = "0", False
        while not ended:
            answer = self._transport.request("GET", f"{_path('jobs', request_id)}/log", params={"after": after})
            text, after = checked_log(answer)
            ended = not follow or answer.headers.get("X-Job-Status") not in ("queued", "running")
            yield from text.splitlines()
            if not ended and not text:
                self._transport.sleep(_FOLLOW_LOG)

    def events(self, request_id: str, after: str | None = None) -> Iterator[dict[str, Any]]:
        """What happens to a job: what has happened so far, then each event as it comes, until the job has ended.

        Each has `type`, `at`, `data` (bytes where the predictor has emitted bytes) and an `id`; after: only those
        behind that id. Connects anew by itself and goes on where it was. Raises RequestRefused if the job does not
        exist, and ServerUnavailable after retry_for seconds without the server.
        """
        return follow(self._transport, f"{_path('jobs', request_id)}/events", after)

    # --- the server ---

    def server_status(self) -> dict[str, Any]:
        """Groups, queue, uptime and versions; `status` is `ok`, `stopping`, or `broken` with its `cause`.

        Raises ServerUnavailable if the server does not respond.
        """
        response = self._transport.request("GET", "/server_status")
        body = body_of(response)
        if problem_kind(body) == "pool-down" and "server" in body:
            return {**body["server"], "status": "broken", "cause": body.get("detail")}
        return checked(response, "status", "uptime_seconds", "queue", "groups", "versions")

    def models(self) -> list[dict[str, Any]]:
        """The models, the default one first: each one's `name`, `status`, `groups`, `schema` and more."""
        found: list[dict[str, Any]] = checked(self._transport.request("GET", "/models"), "models")["models"]
        return found

    def schema(self, model: str | None = None) -> dict[str, Any]:
        """JSON Schema of a model's arguments of `submit`. model: its short name; else the default one is meant."""
        return checked(self._transport.request("GET", "/schema", params=_of(model)), "properties")

    def ready(self, model: str | None = None) -> bool:
        """Whether the server takes new work now, of that model or of any; False also when it cannot be reached."""
        return self._unreadiness(model) is None

    def wait_ready(self, timeout: float = 300.0, model: str | None = None) -> None:
        """Wait until the server takes new work, of that model or of any.

        Raises ServerUnavailable with the reason after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while (reason := self._unreadiness(model)) is not None:
            if time.monotonic() >= end:
                raise ServerUnavailable(f"not ready after {timeout:g} s: {reason}")
            self._transport.sleep(_FOLLOW)

    # --- inside ---

    def _save_all(self, request_id: str, path: str | Path, outputs: Sequence[dict[str, Any]]) -> list[Path]:
        saved = [self.save(request_id, path)]
        if saved[0].is_file():
            for index, output in enumerate(outputs[1:], start=1):
                suffix = Path(output["output_path"]).suffix
                saved.append(self.save(request_id, files.beside(saved[0], index, suffix), index))
        return saved

    def _page(self, asked: dict[str, str]) -> dict[str, Any]:
        return checked(self._transport.request("GET", "/jobs", params=asked), "jobs", "next_cursor")

    def _look(self, request_id: str, wait: float, silence: float, retry_for: float | None = None) -> dict[str, Any]:
        """`status`. silence: seconds beyond `wait` that the server may take; retry_for: as for Transport.request."""
        response = self._transport.request(
            "GET",
            _path("request_status", request_id),
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

    def _look_until(self, end: float, request_id: str, hold: float) -> dict[str, Any]:
        """`status`, with what is left until `end` as the limit of the wait, of silence and of retry_for."""

        def once() -> dict[str, Any]:
            left = max(0.0, end - time.monotonic())
            wait = min(hold, left)
            return self._look(request_id, wait, min(self._transport.timeout, max(left - wait, _LATE)), retry_for=0.0)

        return self._transport.retrying(once, min(self._transport.retry_for, max(0.0, end - time.monotonic())))

    def _unreadiness(self, model: str | None = None) -> str | None:
        """Why the server accepts no jobs; asked once, without a retry."""
        try:
            checked(self._transport.request("GET", "/readyz", params=_of(model), retry_for=0.0), "status")
        except ClientError as error:
            return str(error)
        return None

    def _ended(self, request_id: str, response: httpx.Response) -> httpx.Response:
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


def _path(route: str, request_id: str) -> str:
    return f"/{route}/{checked_id(request_id)}"


def _succeeded(status: dict[str, Any]) -> dict[str, Any]:
    if status["status"] == "canceled":
        raise JobCanceled(status["request_id"])
    if status["status"] == "failed":
        raise JobFailed(status["request_id"], status.get("error", {}))
    return status


def _of(model: str | None) -> dict[str, str]:
    """The query that names a model."""
    return {} if model is None else {"model": model}
