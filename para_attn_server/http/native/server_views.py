"""The JSON shapes of what the native dialect says of the server itself. Pure, like `views.py`."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import Beat, GroupView
from para_attn_server.service.job_view import ModelView, ServerView
from para_attn_server.stores.base import QueueCounts


class IndexBody(TypedDict):
    """Name, version, and what each route is for."""

    name: str
    version: str
    endpoints: dict[str, str]


class AliveBody(TypedDict):
    """A web worker responds."""

    status: Literal["alive"]


class ReadyBody(TypedDict):
    """New jobs of these models are accepted."""

    status: Literal["ready"]
    models: list[str]


class ModelBody(TypedDict):
    """A model, and how it stands. cause: why it takes no job now. schema: of its arguments, null until they are known.

    queued and running: how many jobs of it.
    """

    name: str
    status: Literal["ready", "starting", "broken"]
    cause: str | None
    groups: list[GroupView]
    queued: int
    running: int
    schema: dict[str, Any] | None


class ModelsBody(TypedDict):
    """The models, the default one first."""

    models: list[ModelBody]


class OutputsBody(TypedDict):
    """Of how many jobs the output files are kept, and how many bytes they have together (`max_bytes`: at most).

    evicted: of how many jobs they were removed to stay below that.
    """

    jobs: int
    bytes: int
    max_bytes: int | None
    evicted: int


class CostsBody(TypedDict):
    """What is known of the time that jobs take: of how many shapes, and the median relative error of the last
    estimates."""

    shapes: int
    median_error: float | None


class ServerBody(TypedDict):
    """The pool, the queue, uptime and versions."""

    status: Literal["ok", "stopping"]
    groups: list[GroupView]
    queue: QueueCounts
    outputs: OutputsBody
    started_at: float
    uptime_seconds: float
    mean_job_seconds: float | None
    costs: CostsBody
    loop_lag: Beat
    versions: dict[str, str]
    trouble: str | None
    notices: list[str]


def models_body(models: list[ModelView]) -> ModelsBody:
    """The models."""
    return {"models": [_model_body(model) for model in models]}


def _model_body(model: ModelView) -> ModelBody:
    return {
        "name": model.name,
        "status": model.state.value,
        "cause": model.cause,
        "groups": model.groups,
        "queued": model.queued,
        "running": model.running,
        "schema": model.schema,
    }


def server_body(server: ServerView, versions: dict[str, str]) -> ServerBody:
    """The pool, the queue, uptime and versions. versions: of this process; the ranks' are in the pool view."""
    pool, queue, outputs = server.pool, server.queue, server.outputs
    return {
        "status": "stopping" if pool.stopping else "ok",
        "groups": pool.groups,
        "queue": server.counts,
        "outputs": {
            "jobs": outputs.totals.jobs,
            "bytes": outputs.totals.bytes,
            "max_bytes": outputs.max_bytes,
            "evicted": outputs.totals.evicted,
        },
        "started_at": pool.started_at,
        "uptime_seconds": round(steady() - pool.started_steady, 3),
        "mean_job_seconds": pool.mean_seconds,
        "costs": {"shapes": queue.shapes, "median_error": None if queue.error is None else round(queue.error, 4)},
        "loop_lag": server.lag,
        "versions": {**versions, **pool.versions},
        "trouble": pool.trouble,
        "notices": pool.notices,
    }
