"""The state directory's lock: one server at a time, free again however the holder ends."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from para_attn_server.core.errors import ExitCode, StateDirError
from para_attn_server.core.lock import StateDirLock

HOLDER = """
import sys; from pathlib import Path
from para_attn_server.core.lock import StateDirLock
with StateDirLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path / "state"`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "state")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_server_is_told_who_holds_the_directory(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StateDirError) as caught:
        StateDirLock(tmp_path / "state").acquire()
    assert str(tmp_path / "state") in str(caught.value) and f"process {holder.pid})" in str(caught.value)
    assert caught.value.exit_code == ExitCode.STATE_DIR


@pytest.mark.parametrize("end", ["killed", "released"])
def test_the_directory_is_free_after_its_holder(tmp_path: Path, holder: subprocess.Popen[str], end: str) -> None:
    if end == "killed":
        holder.kill()
    holder.communicate("\n")
    with StateDirLock(tmp_path / "state"):
        assert (tmp_path / "state" / "lock").read_text() == f"{os.getpid()}\n"


def test_the_directory_is_made_for_this_user_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with StateDirLock(tmp_path / "deep" / "state"):
            assert stat.S_IMODE((tmp_path / "deep" / "state").stat().st_mode) == 0o700
            assert stat.S_IMODE((tmp_path / "deep" / "state" / "lock").stat().st_mode) == 0o600
    finally:
        os.umask(old)


def test_a_child_does_not_hold_the_lock_on(tmp_path: Path) -> None:
    lock = StateDirLock(tmp_path)
    lock.acquire()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        with StateDirLock(tmp_path):
            assert child.poll() is None
        child.communicate()


def test_releasing_twice_is_harmless(tmp_path: Path) -> None:
    lock = StateDirLock(tmp_path)
    lock.acquire()
    lock.release()
    lock.release()


def test_a_refused_lock_leaks_no_descriptor(tmp_path: Path) -> None:
    with StateDirLock(tmp_path):
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(StateDirError):
            StateDirLock(tmp_path).acquire()
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_place_where_no_directory_can_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StateDirError, match="choose another --state-dir"):
            StateDirLock(place).acquire()
