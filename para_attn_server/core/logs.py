"""Logging of every process of the server, to stderr: lines for people, or one JSON object each.

structlog renders both its own loggers and the standard library's, so that a predictor's `logging` looks the same.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from para_attn_server.core.log_keys import add_key
from para_attn_server.core.outlet import Outlet
from para_attn_server.core.printable import printable
from para_attn_server.core.stray_output import LineStream, lead_to_log
from para_attn_server.core.streams import LossyStream, lose_what_cannot_be_written

_LOST = {"msg": "log lines were lost", "levelno": logging.WARNING, "levelname": "WARNING", "name": __name__}


def configure_logging(level: str, log_format: str, process: str, fd: int | None = None, foreign: bool = False) -> None:
    """Log from `level` on. log_format: `console` or `json`; process: who speaks, such as `web` or `group 0 rank 1`.

    With `json` all that this process prints becomes a part of the log. fd: a descriptor to log to instead of stderr.
    foreign: code of others logs here too, and its handlers may show a record's caller and thread.
    """
    lose_what_cannot_be_written()

    def name_process(_logger: Any, _method: str, event: Any) -> Any:
        event.setdefault("process", process)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=False),
        name_process,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    if not foreign:
        _leave_out_what_no_line_shows()
    handler = _handler(log_format, shared, fd)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if log_format == "json":
        lead_to_log()


def _leave_out_what_no_line_shows() -> None:
    """Half of what a line costs: https://docs.python.org/3/howto/logging.html#optimization."""
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]


def _handler(log_format: str, shared: list[Any], fd: int | None) -> logging.Handler:
    first: list[Any] = [add_key] if log_format == "json" else []
    last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if log_format == "console":
        plain = structlog.dev.plain_traceback
        to_lines = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        last = [_unfold_stacks, structlog.processors.format_exc_info, _without_control_characters, to_lines]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[*first, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    # With a descriptor of its own and not by sys.stderr, since that leads here.
    printed: Any = sys.stderr.original if isinstance(sys.stderr, LineStream) else sys.stderr
    handler = _Handler(printed if fd is None else LossyStream(fd))
    handler.setFormatter(formatter)
    return handler


def _without_control_characters(_logger: Any, _method: str, event: Any) -> Any:
    """Lines for people: a predictor's texts, exceptions among them, do not move the terminal's cursor."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


class _Handler(logging.StreamHandler[Any]):
    """Says how many lines were lost as soon as one is taken again."""

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        super().emit(record)
        lost = Outlet.lost
        if lost and self._flows():
            super().emit(logging.makeLogRecord(_LOST | {"lost": lost}))
            Outlet.lost -= lost if self._flows() else 1

    def _flows(self) -> bool:
        return isinstance(self.stream, LossyStream) and self.stream.outlet.flows


def _unfold_stacks(_logger: Any, _method: str, event: Any) -> Any:
    """Lines for people: stacks below the line that they belong to, not squeezed into it."""
    if "stacks" in event:
        event["event"] = f"{event['event']}\n{event.pop('stacks')}"
    return event


def job_keys(job_id: str, request_id: str | None = None) -> dict[str, str]:
    """What every log line about a job says of it. request_id: of the request that it came by, None if unknown."""
    return {"job": job_id} if request_id is None else {"job": job_id, "request_id": request_id}
