"""The models of the server as clients see them: which there are, what each takes, and whether it takes jobs now."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from para_attn_server.core.errors import ModelNotFound, NotAccepting, StoreUnavailable
from para_attn_server.core.job import Job
from para_attn_server.core.wire.control import GroupState, GroupView, PoolView
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.job_view import ModelState, ModelView
from para_attn_server.service.model_info import ModelInfo, ModelInfoReader
from para_attn_server.stores.base import JobStore

Known = Mapping[str, ModelInfo | None]
"""The models that are served, the default one first."""
_CAN_RUN = frozenset({GroupState.READY, GroupState.BUSY})


class Models:
    """By the store, which knows their arguments, and the controller, which knows their groups."""

    def __init__(self, store: JobStore, control: ControlClient) -> None:
        self._reader, self._control = ModelInfoReader(store), control

    def info(self, asked: str | None) -> ModelInfo:
        """What is known of that model, None for the default one. Raises ModelNotFound, or NotAccepting until it has
        reported its arguments."""
        known = self._reader.current()
        return _info(known, _name(known, asked))

    def accepting(self, asked: str | None) -> None:
        """Returns when the model takes jobs; raises ModelNotFound, or NotAccepting saying why not."""
        self._accepting(self._reader.current(), asked)

    def ready(self) -> list[str]:
        """Those that take jobs; raises NotAccepting, saying why the first one does not, where there are none."""
        known = self._reader.current()
        found = [name for name in known if self._refusal(known, name) is None]
        if not found:
            self._accepting(known, None)
        return found

    def views(self) -> list[ModelView]:
        """All of them."""
        pool, queue = self._control.pool(), self._control.queue
        views = []
        known = self._reader.current()
        for name, info in known.items():
            groups = [] if pool is None else pool.groups_of(name)
            schema, cause = None if info is None else info.schema, self._refusal(known, name)
            counts = queue.waiting.get(name, 0), queue.at_work.get(name, 0)
            views.append(ModelView(name, _state(pool, groups, name), groups, schema, cause, *counts))
        return views

    def notices(self) -> list[str]:
        """What an operator should know of jobs for models that are not there."""
        names, waiting = self._reader.current(), self._control.queue.waiting
        return [_waits(count, name) for name, count in waiting.items() if count and name not in names]

    def why_waiting(self, job: Job) -> str | None:
        """Why a queued job cannot start now, None where it can or that is not known."""
        with suppress(StoreUnavailable):
            names, name = self._reader.lately(), str(self._reader.name_of(job))
            if names and name not in names:
                return f"this server does not have the model {name}"
            pool = self._control.pool()
            if pool is not None and (broken := pool.broken_of(name)) is not None:
                return f"no worker group of the model {name} works: {broken}"
        return None

    def _accepting(self, known: Known, asked: str | None) -> None:
        pool, name = self._control.pool(), _name(known, asked)
        if pool is not None and (broken := pool.broken_of(name)) is not None:
            which = "" if len(known) < 2 else f" of the model {name}"
            raise NotAccepting(f"no worker group{which} works: {broken}")
        _info(known, name)

    def _refusal(self, known: Known, name: str) -> str | None:
        try:
            self._accepting(known, name)
        except NotAccepting as error:
            return str(error)
        return None


def _name(known: Known, asked: str | None) -> str:
    if asked is None:
        return next(iter(known), "")
    if asked not in known:
        raise ModelNotFound(asked, list(known))
    return asked


def _info(known: Known, name: str) -> ModelInfo:
    info = known.get(name)
    if info is None:
        which = "the model" if len(known) < 2 else f"the model {name}"
        raise NotAccepting(f"{which} is still being loaded; its arguments are not known yet")
    return info


def _state(pool: PoolView | None, groups: list[GroupView], name: str) -> ModelState:
    if any(group.state in _CAN_RUN for group in groups):
        return ModelState.READY
    return ModelState.BROKEN if pool is not None and pool.broken_of(name) is not None else ModelState.STARTING


def _waits(count: int, name: str) -> str:
    jobs = "1 job waits" if count == 1 else f"{count} jobs wait"
    return f"{jobs} for the model {name}, which this server does not have; start it with that model, or cancel them"
