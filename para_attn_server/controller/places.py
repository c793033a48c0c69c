"""Watches every path that the server needs later: recreates a missing one, and reports what it cannot recreate.

A descriptor that is open says nothing of the path that it was opened by: whoever comes next opens the path. Looked at
are the state directory with its lock, its database, its control socket and its folder for temporary files, and the
output root. What becomes of new jobs meanwhile is the pool's business.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from para_attn_server.controller.control_server import ControlServer
from para_attn_server.controller.temporary import RunFolder
from para_attn_server.core.errors import ServerError, StoreUnavailable
from para_attn_server.core.lock import StateDirLock
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.store_thread import StoreThread
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()
LOOK_EVERY = 0.5
"""Seconds between two checks."""
ANSWERS_WITHIN = 5.0
"""Seconds after which a file system that has not answered counts as gone."""
_AT_ONCE = 0.05
"""Of them, those for which the controller's loop waits for the answer."""


_ADVICE = {
    errno.EEXIST: "move away what is in its place",
    errno.ENOTDIR: "move away what is in its place",
    errno.EISDIR: "move away what is in its place",
    errno.ENOSPC: "free some space on the disk of the state directory",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a new job would fail, for clients. holds: none is started; else it fails before it begins. refuses: none is
    taken; else that is for the web workers to judge, for each request."""

    reason: str
    holds: bool = True
    refuses: bool = True


@dataclass(frozen=True, slots=True)
class StatePlaces:
    """What the controller has in its state directory."""

    lock: StateDirLock
    run: RunFolder
    control: ControlServer
    store: StoreThread


class Places:
    """on_change: called with the trouble there is now, None when it is over. clock: monotonic seconds."""

    def __init__(
        self,
        state: StatePlaces,
        outputs: OutputFolder,
        on_change: Callable[[Trouble | None], None],
        clock: Callable[[], float],
    ) -> None:
        self._state, self._outputs, self._on_change, self._clock = state, outputs, on_change, clock
        self._trouble: Trouble | None = None
        self._said = ""
        self._due = self._asked = 0.0
        self._looking: asyncio.Future[Trouble | None] | None = None
        self._looking_at_store: asyncio.Future[Trouble | None] | None = None
        self._of_outputs: Trouble | None = None

    async def tick(self) -> None:
        """Look, if it is time."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + LOOK_EVERY
        trouble = await self._look_at_state() or await self._look_at_outputs()
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            log.info("all required paths are available again")
        else:
            log.error("new jobs would fail", reason=trouble.reason, held=trouble.holds)
        self._on_change(trouble)

    async def _look_at_state(self) -> Trouble | None:
        state = self._state
        try:
            state.lock.look()
            of_store = await self._look_at_store()
            await state.control.look()
            if state.run.look():
                log.warning("the temporary folder was missing; recreated it")
        except (OSError, ServerError) as error:
            if str(error) != self._said:
                log.error("cannot recreate a path in the state directory", error=str(error))
            self._said = str(error)
            return Trouble(_public(error))
        self._said = ""
        return of_store

    async def _look_at_store(self) -> Trouble | None:
        """In the store's thread, which may be at work on something that takes long."""
        if self._looking_at_store is None:
            self._looking_at_store = asyncio.wrap_future(self._state.store.submit(_store_now))
        done, _ = await asyncio.wait({self._looking_at_store}, timeout=ANSWERS_WITHIN)
        if not done:
            return Trouble("the queue's database does not respond")
        looked, self._looking_at_store = self._looking_at_store, None
        return looked.result()

    async def _look_at_outputs(self) -> Trouble | None:
        """In a thread: outputs may be on a network file system, whose server may not answer for hours."""
        if self._looking is None:
            self._looking = asyncio.ensure_future(asyncio.to_thread(self._outputs_now))
            self._asked = self._clock()
        done, _ = await asyncio.wait({self._looking}, timeout=_AT_ONCE)
        if done:
            self._of_outputs, self._looking = self._looking.result(), None
        elif self._clock() - self._asked > ANSWERS_WITHIN:
            return Trouble("the file system of the output root does not answer")
        return self._of_outputs

    def _outputs_now(self) -> Trouble | None:
        existed = self._outputs.root.exists()
        refusal = self._outputs.look()
        if refusal is not None:
            return Trouble(refusal)
        if not existed:
            log.warning("the output root was missing; recreated it", root=str(self._outputs.root))
        if (reason := self._outputs.full()) is not None:
            return Trouble(reason, refuses=False)
        refusal = self._outputs.unwritable()
        return None if refusal is None else Trouble(refusal, holds=False, refuses=False)


def _store_now(store: JobStore) -> Trouble | None:
    """Why no job could be written. Raises what keeps the store from being repaired."""
    refusal = store.heal()
    if refusal is not None:
        return Trouble(refusal)
    try:
        store.usable()
    except StoreUnavailable as error:
        return Trouble(_public(error))
    return None


def _public(error: Exception) -> str:
    """Why a path cannot be made again and what to do, for clients: with the last part of the path."""
    if isinstance(error, StoreUnavailable) and error.public is not None:
        return error.public
    if not isinstance(error, OSError):
        return "the state directory cannot be used: the server's log says more"
    advice = _ADVICE.get(error.errno or 0, "check the owner and the permissions of the state directory")
    name = Path(str(error.filename)).name if error.filename else "a file"
    return f"{name} of the state directory cannot be made again ({error.strerror}): {advice}"
