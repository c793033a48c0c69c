"""Room on a disk: what the file system says, also where it says nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from para_attn_server.core.disk import free_bytes, has_room, nearest


def test_room_is_what_a_user_without_privileges_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((512, 4096, 100, 9, 2, 9, 9, 9, 0, 255)))
    assert free_bytes(tmp_path) == 2 * 4096
    assert has_room(tmp_path, 2 * 4096) and not has_room(tmp_path, 2 * 4096 + 1)


def test_a_file_system_that_does_not_say_is_not_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255)))
    assert free_bytes(tmp_path) is None and has_room(tmp_path, 1)


def test_what_is_not_there_cannot_be_asked(tmp_path: Path) -> None:
    missing = tmp_path / "not" / "yet"
    with pytest.raises(FileNotFoundError):
        has_room(missing, 1)
    assert nearest(missing) == tmp_path and nearest(tmp_path) == tmp_path
