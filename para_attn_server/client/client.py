"""The client, with what concerns a job; what is asked of the server as a whole is in server_calls.py."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from para_attn_server.client.arguments import as_json
from para_attn_server.client.events import follow
from para_attn_server.client.files import beside, check_folder, suffix_of
from para_attn_server.client.files import save as save_file
from para_attn_server.client.options import JobFilters, JobOptions, headers, query
from para_attn_server.client.server_calls import ServerCalls
from para_attn_server.client.transport import checked, checked_log
from para_attn_server.client.uploads import with_ids
from para_attn_server.client.waiting import Progress, ended, look, path_of
from para_attn_server.client.waiting import wait as wait_for

_PAGE = 100
_FOLLOW_LOG = 0.5  # seconds between two polls of a followed log
_CANCEL_TIMEOUT = 120.0  # a cancel is answered when all ranks have left the job


class Client(ServerCalls):
    """One server's client. A context manager; `close()` does the same.

    Every call raises RequestRefused for what the server refuses, and ServerUnavailable where it cannot be reached.

    Parameters
    ----------
    url : str
        Of the server. Raises UsageError for what cannot be one.
    timeout : float
        Seconds that the server may be silent.
    retry_for : float
        Seconds to go on repeating one request when the server cannot be reached or is too busy.
    sleep : callable
        How to pass the seconds between (tests choose it).
    """

    def submit(self, *, options: JobOptions | None = None, **kwargs: Any) -> str:
        """Queue a job.

        The request has an Idempotency-Key, so that its repetition after a broken connection makes no second job.

        Parameters
        ----------
        options : JobOptions, optional
            Of the job, such as {"priority": "high", "ttl": "5m", "model": "video"}.
        **kwargs : Any
            The arguments that `schema()` lists. A Path is uploaded, where the argument takes a picture, video or
            sound; bytes are sent as base64.

        Returns
        -------
        str
            The request id.

        Raises
        ------
        RequestRefused
            Names each wrong argument.
        InvalidArgument
            An argument is not what JSON has; nothing was sent.
        """
        given = options or {}
        named = headers(given)
        uploaded = with_ids(kwargs, lambda: self.schema(given.get("model")), lambda path: str(self.upload(path)["id"]))
        arguments = as_json(uploaded)
        answer = self._transport.request("POST", "/generate", json=arguments, headers=named)
        return str(checked(answer, "request_id")["request_id"])

    def status(self, request_id: str, wait: float = 0.0) -> dict[str, Any]:
        """How a job stands.

        Parameters
        ----------
        request_id : str
            The job.
        wait : float
            Seconds, at most 60, for which the server may hold its response until the job ends.

        Returns
        -------
        dict
            `request_id`, `status` and what is known of it; a failed one has `error`.
        """
        return look(self._transport, request_id, wait, self._transport.timeout)

    def wait(
        self, request_id: str, timeout: float | None = None, on_progress: Progress | None = None
    ) -> dict[str, Any]:
        """Wait until a job has succeeded.

        Parameters
        ----------
        request_id : str
            The job.
        timeout : float, optional
            Seconds; it holds, within a second, also while the server is away. None: as long as it takes.
        on_progress : callable, optional
            Called with each status seen, the last one too.

        Returns
        -------
        dict
            The job's status, as of `status`.

        Raises
        ------
        JobFailed, JobCanceled, WaitTimedOut
            It has not succeeded.
        ServerUnavailable
            `retry_for` ended before the timeout.
        """
        return wait_for(self._transport, request_id, timeout, on_progress)

    def result(self, request_id: str) -> dict[str, Any]:
        """A succeeded job with its output.

        Parameters
        ----------
        request_id : str
            The job.

        Returns
        -------
        dict
            `output` as bytes, `file_type`, `size`, `sha256`, `seed`, `timings` and more.

        Raises
        ------
        JobFailed, JobCanceled, RequestRefused
            There is none; the last one where the job has not ended or its file is gone.
        """
        answer = self._transport.request("GET", path_of("get_output", request_id))
        body = checked(ended(request_id, answer), "output")
        return {**body, "output": b64decode(body["output"])}

    def save(self, request_id: str, path: str | Path, index: int = 0) -> Path:
        """Write a succeeded job's output, under a temporary name until it is whole. Raises what `result` raises.

        Parameters
        ----------
        request_id : str
            The job.
        path : str or Path
            A file, or a folder to save in under the job's name (it is made where the path ends with a slash). A file
            that is replaced keeps its mode, a symlink is followed, and a device or FIFO is written to.
        index : int
            Which of its outputs, from 0.

        Returns
        -------
        Path
            Where it is.
        """

        def download(file: Path) -> str:
            route = path_of("outputs", request_id) + (f"/{index}" if index else "")
            answer = ended(request_id, self._transport.download(route, file))
            return f"{request_id}{suffix_of(answer.headers['Content-Disposition'])}"

        return save_file(path, download)

    def save_all(self, request_id: str, path: str | Path) -> list[Path]:
        """Write all outputs of a succeeded job: the first one as `save` does, the others beside it.

        Parameters
        ----------
        request_id : str
            The job.
        path : str or Path
            As for `save`. Where it is a device or FIFO, the first output only is written.

        Returns
        -------
        list of Path
            Where they are; the others have a number in their names, such as `star-1.png`.
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
        """Submit a job, wait until it has succeeded, and save its outputs. Raises what these raise.

        Parameters
        ----------
        path : str or Path, optional
            As for `save_all`; None: nothing is saved. Its name does not choose the format.
        on_progress, options, **kwargs
            As for `wait` and `submit`.

        Returns
        -------
        dict
            The job's status.
        """
        if path is not None:
            check_folder(path)
        request_id = self.submit(options=options, **kwargs)
        status = self.wait(request_id, on_progress=on_progress)
        if path is not None:
            self._save_all(request_id, path, status.get("outputs", ()))
        return status

    def jobs(self, limit: int | None = None, **filters: Unpack[JobFilters]) -> Iterator[dict[str, Any]]:
        """The newest jobs first, asked for page by page.

        Parameters
        ----------
        limit : int, optional
            How many at most.
        **filters : Any
            Those of JobFilters, such as status="failed".

        Yields
        ------
        dict
            A job's status, `outputs` and `error`.
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
        """All that is known of a job, also of one that has failed.

        Parameters
        ----------
        request_id : str
            The job.

        Returns
        -------
        dict
            Its status, `arguments`, `outputs`, `error`, `history` and more.
        """
        return checked(self._transport.request("GET", path_of("jobs", request_id)), "request_id", "status", "outputs")

    def delete(self, request_id: str) -> None:
        """Delete a job that has ended, and its files on the server.

        Parameters
        ----------
        request_id : str
            The job.
        """
        checked(self._transport.request("DELETE", path_of("jobs", request_id)), "deleted")

    def cancel(self, request_id: str | None = None) -> dict[str, Any]:
        """Cancel a job and wait until it has ended.

        Parameters
        ----------
        request_id : str, optional
            The job; None: the oldest running one.

        Returns
        -------
        dict
            Its status; `running` still where it has not left within the server's --cancel-timeout.
        """
        if request_id is not None:
            answer = self._transport.request("POST", path_of("cancel", request_id), timeout=_CANCEL_TIMEOUT)
            return checked(answer, "request_id", "status")
        # Repeated after a 503 it could hit the next job, if the first order was heard after all.
        answer = self._transport.request("POST", "/cancel", timeout=_CANCEL_TIMEOUT, again=frozenset())
        return checked(answer, "request_id", "status")

    def log(self, request_id: str, follow: bool = False) -> Iterator[str]:
        """The lines of a job's log; of a failed job it ends with the traceback.

        Parameters
        ----------
        request_id : str
            The job.
        follow : bool
            Go on until the job has ended, with lines as they come.

        Yields
        ------
        str
            A line.
        """
        after, ended = "0", False
        while not ended:
            answer = self._transport.request("GET", f"{path_of('jobs', request_id)}/log", params={"after": after})
            text, after = checked_log(answer)
            ended = not follow or answer.headers.get("X-Job-Status") not in ("queued", "running")
            yield from text.splitlines()
            if not ended and not text:
                self._transport.sleep(_FOLLOW_LOG)

    def events(self, request_id: str, after: str | None = None) -> Iterator[dict[str, Any]]:
        """What happens to a job: what has happened so far, then each event as it comes, until the job has ended.

        Connects anew by itself and goes on where it was.

        Parameters
        ----------
        request_id : str
            The job.
        after : str, optional
            The id of an event: only those behind it.

        Returns
        -------
        iterator of dict
            Each has `id`, `type`, `at` (Unix seconds) and `data` (bytes where the predictor has emitted bytes).
        """
        return follow(self._transport, f"{path_of('jobs', request_id)}/events", after)

    # --- inside ---

    def _save_all(self, request_id: str, path: str | Path, outputs: Sequence[dict[str, Any]]) -> list[Path]:
        saved = [self.save(request_id, path)]
        if saved[0].is_file():
            for index, output in enumerate(outputs[1:], start=1):
                suffix = Path(output["output_path"]).suffix
                saved.append(self.save(request_id, beside(saved[0], index, suffix), index))
        return saved

    def _page(self, asked: dict[str, str]) -> dict[str, Any]:
        return checked(self._transport.request("GET", "/jobs", params=asked), "jobs", "next_cursor")
