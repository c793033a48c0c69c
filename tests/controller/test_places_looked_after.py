"""What the controller makes of the places that it looks after, one look after the other, on a chosen clock."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from para_attn_server.controller.places import ANSWERS_WITHIN, LOOK_EVERY, Places, StatePlaces, Trouble
from para_attn_server.controller.temporary import RunFolder
from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.pool.store_thread import StoreThread
from para_attn_server.stores.sqlite import full


class Stage:
    """Places whose parts do as they are told. outputs: what the root is found to be like."""

    def __init__(self) -> None:
        self.now, self.changes = 0.0, list[Trouble | None]()
        self.refusal: str | None = None
        self.error: Exception | None = None
        self.unusable: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.unwritable: str | None = None
        self.full: str | None = None
        quiet: Any = SimpleNamespace(look=lambda: False)
        control: Any = SimpleNamespace(look=self._control)
        store: Any = SimpleNamespace(heal=self._heal, usable=self._usable)
        self.store = StoreThread(store, lambda _: None)
        state = StatePlaces(lock=quiet, run=quiet, control=control, store=self.store)
        outputs: Any = SimpleNamespace(
            root=Path("/"), look=self._outputs, full=lambda: self.full, unwritable=lambda: self.unwritable
        )
        self.places = Places(state, outputs, self.changes.append, lambda: self.now)

    async def _control(self) -> None:
        pass

    def _heal(self) -> str | None:
        if self.error is not None:
            raise self.error
        return self.refusal

    def _usable(self) -> None:
        if self.unusable is not None:
            raise self.unusable

    def _outputs(self) -> None:
        self.answers.wait(30)

    async def look(self, times: int = 1) -> Trouble | None:
        """So many looks; the trouble that was told last."""
        for _ in range(times):
            self.now += LOOK_EVERY
            await self.places.tick()
        return self.changes[-1] if self.changes else None


def test_trouble_is_told_once_and_so_is_its_end() -> None:
    async def scenario() -> None:
        stage = Stage()
        assert await stage.look(3) is None and not stage.changes
        stage.error = StoreUnavailable("/secret/jobs.sqlite3 is gone")
        with capture_logs() as logs:
            trouble = await stage.look(3)
        assert trouble is not None and trouble.holds and "/secret" not in trouble.reason
        assert len([entry for entry in logs if "/secret" in str(entry)]) == 1, "the log has it, once"
        stage.error = None
        assert await stage.look(2) is None
        stage.refusal = "replaced"
        assert await stage.look() == Trouble("replaced")
        stage.refusal, stage.unwritable = None, "read-only"
        assert await stage.look() == Trouble("read-only", holds=False, refuses=False)
        stage.full = "full"
        assert await stage.look() == Trouble("full", holds=True, refuses=False), "jobs wait; a POST is 507"
        assert len(stage.changes) == 5

    asyncio.run(scenario())


def test_a_state_disk_that_is_full_is_told_and_logged_once() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.unusable = full("/secret/jobs.sqlite3")
        with capture_logs() as logs:
            trouble = await stage.look(3)
        assert trouble == Trouble("the disk of the state directory is full: free some space")
        assert [entry["event"] for entry in logs] == ["new jobs would fail"]
        stage.unusable = None
        assert await stage.look() is None

    asyncio.run(scenario())


def test_a_store_that_does_not_respond_is_trouble_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("para_attn_server.controller.places.ANSWERS_WITHIN", 0.05)

    async def scenario() -> None:
        stage, hangs = Stage(), threading.Event()
        stage.store.submit(lambda _: hangs.wait(30))
        assert await stage.look(3) == Trouble("the queue's database does not respond") and len(stage.changes) == 1
        hangs.set()
        stage.store.submit(lambda _: None).result(10)
        assert await stage.look() is None
        assert stage.store.close(10)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EEXIST, "File exists", "/secret/run"), ["run ", "File exists", "move away"]),
        (OSError(errno.ENOTDIR, "Not a directory", "/secret/run"), ["run ", "Not a directory", "move away"]),
        (OSError(errno.ENOSPC, "No space left on device", "/secret/lock"), ["lock ", "No space", "free some space"]),
        (OSError(errno.EACCES, "Permission denied", "/secret/lock"), ["lock ", "denied", "permissions"]),
        (StoreUnavailable("/secret/lock ...", "lock cannot be made again"), ["lock cannot"]),
    ],
)
def test_what_cannot_be_made_again_is_named_without_its_folder(error: Exception, reason: list[str]) -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.error = error
        trouble = await stage.look()
        assert trouble is not None and "/secret" not in trouble.reason
        assert [part for part in reason if part not in trouble.reason] == []

    asyncio.run(scenario())


def test_a_folder_for_temporary_files_whose_place_is_taken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = RunFolder(tmp_path)
    try:
        (tmp_path / "run").rmdir()
        (tmp_path / "run").touch()
        stage = Stage()
        stage.places._state = replace(stage.places._state, run=folder)
        trouble = asyncio.run(stage.look())
        assert trouble is not None and trouble.reason.startswith("run of the state directory cannot be made again")
        assert "move away what is in its place" in trouble.reason
    finally:
        os.close(folder._descriptor)


def test_nothing_is_looked_at_before_its_time() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.look()
        stage.refusal = "replaced"
        await stage.places.tick()
        assert not stage.changes

    asyncio.run(scenario())


def test_outputs_that_do_not_answer_hold_nothing_up_but_new_jobs() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.answers.clear()
        stage.store.submit(lambda _: None).result(10)
        before = threading.active_count()
        assert await stage.look() is None
        trouble = await stage.look(int(ANSWERS_WITHIN / LOOK_EVERY) + 1)
        assert trouble is not None and trouble.holds and "does not answer" in trouble.reason
        assert threading.active_count() == before + 1, "it is asked once"
        stage.answers.set()
        assert await stage.look(2) is None

    asyncio.run(scenario())
