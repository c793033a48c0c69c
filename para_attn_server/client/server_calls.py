"""What the client asks of the server as a whole; what concerns one job is in client.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from para_attn_server.client.errors import ClientError, ServerUnavailable
from para_attn_server.client.transport import Transport, body_of, checked, problem_kind
from para_attn_server.client.waiting import FOLLOW


class ServerCalls:
    """One connection's calls; see Client for the arguments."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def upload(self, file: str | Path | bytes) -> dict[str, Any]:
        """Keep a picture, video or sound on the server, for any number of jobs to take.

        An upload that no job has used is removed after an hour.

        Parameters
        ----------
        file : str, Path or bytes
            A path, or the content.

        Returns
        -------
        dict
            `id`, which is the value of an argument that takes such a file, `kind`, `media_type` and size.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        data = file if isinstance(file, bytes) else Path(file).read_bytes()
        binary = {"Content-Type": "application/octet-stream"}
        # The same bytes are the same upload: it does no harm to send them twice.
        answer = self._transport.request("POST", "/uploads", content=data, headers=binary, harmless=True)
        return checked(answer, "id", "kind", "media_type")

    def server_status(self) -> dict[str, Any]:
        """How the server stands.

        Returns
        -------
        dict
            Groups, queue, uptime and versions; `status` is `ok`, `stopping`, or `broken` with its `cause`.
        """
        response = self._transport.request("GET", "/server_status")
        body = body_of(response)
        if problem_kind(body) == "pool-down" and "server" in body:
            return {**body["server"], "status": "broken", "cause": body.get("detail")}
        return checked(response, "status", "uptime_seconds", "queue", "groups", "versions")

    def models(self) -> list[dict[str, Any]]:
        """The models.

        Returns
        -------
        list of dict
            Each one's `name`, `status`, `groups`, `schema` and more, the default model first.
        """
        found: list[dict[str, Any]] = checked(self._transport.request("GET", "/models"), "models")["models"]
        return found

    def schema(self, model: str | None = None) -> dict[str, Any]:
        """What `submit` takes.

        Parameters
        ----------
        model : str, optional
            Its short name; None: the default one.

        Returns
        -------
        dict
            JSON Schema of the model's arguments.
        """
        return checked(self._transport.request("GET", "/schema", params=_of(model)), "properties")

    def ready(self, model: str | None = None) -> bool:
        """Whether the server takes new work now.

        Parameters
        ----------
        model : str, optional
            Of that model; None: of any.

        Returns
        -------
        bool
            False also where the server cannot be reached.
        """
        return self._unreadiness(model) is None

    def wait_ready(self, timeout: float = 300.0, model: str | None = None) -> None:
        """Wait until the server takes new work.

        Parameters
        ----------
        timeout : float
            Seconds; then it raises ServerUnavailable with the reason.
        model : str, optional
            Of that model; None: of any.
        """
        end = time.monotonic() + timeout
        while (reason := self._unreadiness(model)) is not None:
            if time.monotonic() >= end:
                raise ServerUnavailable(f"not ready after {timeout:g} s: {reason}")
            self._transport.sleep(FOLLOW)

    def _unreadiness(self, model: str | None = None) -> str | None:
        """Why the server accepts no jobs; asked once, without a retry."""
        try:
            checked(self._transport.request("GET", "/readyz", params=_of(model), retry_for=0.0), "status")
        except ClientError as error:
            return str(error)
        return None


def _of(model: str | None) -> dict[str, str]:
    """The query that names a model."""
    return {} if model is None else {"model": model}
