"""What a Client raises, as a tree; all are `ServerError`s of core/errors.py.

ClientError
├── RequestRefused      the server said no (4xx); names the wrong arguments
│   └── InvalidArgument the client said no before it asked; also a ValueError
├── JobFailed           the job ended as failed
├── JobCanceled         the job ended as canceled
├── WaitTimedOut        the job had not ended in time; also a TimeoutError
└── ServerUnavailable   no response, or 429 or 5xx until the client stops retrying
"""

from __future__ import annotations

from typing import Any

from para_attn_server.core.errors import ServerError


class ClientError(ServerError):
    """Root of what a Client raises."""


class RequestRefused(ClientError):
    """The server refused the request.

    Attributes
    ----------
    status : int
        Of HTTP, 400 to 499.
    problem : dict
        The response's problem details (RFC 9457); empty without them.
    fields : dict of str to str
        What is wrong, by the name of the argument.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.fields = {_name(field): str(field.get("detail", "")) for field in problem.get("errors", [])}
        named = "; ".join(f"{name} {detail}" for name, detail in self.fields.items())
        title, detail = problem.get("title", f"HTTP status {status}"), problem.get("detail", "no reason given")
        super().__init__(f"{title}: {named or detail}")


class InvalidArgument(RequestRefused, ValueError):
    """An argument that no request can hold; nothing was sent."""

    def __init__(self, name: str, detail: str) -> None:
        problem = {"title": "Invalid input", "errors": [{"pointer": f"#/{name}", "detail": detail}]}
        super().__init__(400, problem)


class JobFailed(ClientError):
    """The job failed.

    Attributes
    ----------
    request_id : str
        The job's id.
    type : str
        The class name of the predictor's exception, or what the server found, such as `out_of_memory` or `rank_lost`.
    message : str
        For people.
    rank, step : int or None
        Where it happened; None where that has no meaning.
    hint : str or None
        What to change, if known.
    """

    def __init__(self, request_id: str, error: dict[str, Any]) -> None:
        self.request_id = request_id
        self.type = str(error.get("type", "exception"))
        self.message = str(error.get("message", "unknown"))
        self.rank: int | None = error.get("rank")
        self.step: int | None = error.get("step")
        self.hint: str | None = error.get("hint")
        advice = f"; {self.hint}" if self.hint else ""
        super().__init__(f"job {request_id} failed ({self.type}): {self.message}{advice}")


class JobCanceled(ClientError):
    """The job was canceled.

    Attributes
    ----------
    request_id : str
        The job's id.
    """

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"job {request_id} was canceled")


class WaitTimedOut(ClientError, TimeoutError):
    """The job goes on, but had not ended in time."""


class ServerUnavailable(ClientError):
    """No useful response.

    Attributes
    ----------
    again : bool
        Whether the request may safely be sent again.
    retry_after : float or None
        Seconds that the server asks to wait, if it does.
    """

    def __init__(self, message: str, again: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.again = again
        self.retry_after = retry_after


def _name(field: dict[str, Any]) -> str:
    """The argument that a problem's `pointer` (into the body) or `parameter` (of the query) stands for."""
    return str(field.get("pointer", field.get("parameter", "request"))).removeprefix("#/") or "request"
