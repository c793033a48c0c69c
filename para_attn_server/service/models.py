"""The models of the server as clients see them: which there are, what each takes, and whether it takes jobs now."""

from __future__ import annotations

from contextlib import suppress

from para_attn_server.core.errors import ModelNotFound, NotAccepting, StoreUnavailable
from para_attn_server.core.job import Job
from para_attn_server.core.wire.control import GroupState, GroupView, PoolView
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.job_view import ModelState, ModelView
from para_attn_server.service.model_info import ModelInfo, ModelInfoReader
from para_attn_server.stores.base import JobStore

_CAN_RUN = frozenset({GroupState.READY, GroupState.BUSY})


class Models:
    """By the store, which knows their arguments, and the controller, which knows their groups."""

    def __init__(self, store: JobStore, control: ControlClient) -> None:
        self._reader, self._control = ModelInfoReader(store), control

    @property
    def names(self) -> list[str]:
        """Of all, the default one first."""
        return list(self._reader.current())

    def info(self, asked: str | None) -> ModelInfo:
        """What is known of that model, None for the default one. Raises ModelNotFound, or NotAccepting until it has
        reported its arguments."""
        known = self._reader.current()
        name = self._name(asked)
        info = known.get(name)
        if info is None:
            which = "the model" if len(known) < 2 else f"the model {name}"
            raise NotAccepting(f"{which} is still being loaded; its arguments are not known yet")
        return info

    def accepting(self, asked: str | None) -> None:
        """Returns when the model takes jobs; raises ModelNotFound, or NotAccepting saying why not."""
        pool, name = self._control.pool(), self._name(asked)
        if pool is not None and (broken := pool.broken_of(name)) is not None:
            which = "" if len(self.names) < 2 else f" of the model {name}"
            raise NotAccepting(f"no worker group{which} works: {broken}")
        self.info(asked)

    def ready(self) -> list[str]:
        """Those that take jobs; raises NotAccepting, saying why the first one does not, where there are none."""
        reasons = [(name, self._refusal(name)) for name in self.names]
        if found := [name for name, reason in reasons if reason is None]:
            return found
        self.accepting(None)
        return []

    def views(self) -> list[ModelView]:
        """All of them."""
        pool, queue = self._control.pool(), self._control.queue
        views = []
        for name, info in self._reader.current().items():
            groups = [] if pool is None else pool.groups_of(name)
            schema, cause = None if info is None else info.schema, self._refusal(name)
            counts = queue.waiting.get(name, 0), queue.at_work.get(name, 0)
            views.append(ModelView(name, _state(pool, groups, name), groups, schema, cause, *counts))
        return views

    def notices(self) -> list[str]:
        """What an operator should know of jobs for models that are not there."""
        names, waiting = self.names, self._control.queue.waiting
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

    def _name(self, asked: str | None) -> str:
        names = self.names
        if asked is None:
            return names[0] if names else ""
        if asked not in names:
            raise ModelNotFound(asked, names)
        return asked

    def _refusal(self, name: str) -> str | None:
        try:
            self.accepting(name)
        except NotAccepting as error:
            return str(error)
        return None


def _state(pool: PoolView | None, groups: list[GroupView], name: str) -> ModelState:
    if any(group.state in _CAN_RUN for group in groups):
        return ModelState.READY
    return ModelState.BROKEN if pool is not None and pool.broken_of(name) is not None else ModelState.STARTING


def _waits(count: int, name: str) -> str:
    jobs = "1 job waits" if count == 1 else f"{count} jobs wait"
    return f"{jobs} for the model {name}, which this server does not have; start it with that model, or cancel them"
