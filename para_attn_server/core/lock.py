"""The lock of a state directory: one server at a time.

A flock is held by the open file, so the kernel lets go of it when the holder dies, however it dies. It does not
guard the database against other programs; SQLite does that itself.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from para_attn_server.core.errors import StateDirError

LOCK_NAME = "lock"


class StateDirLock:
    """The right to be the server of a state directory. A context manager."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self._fd: int | None = None
        self._outlived: list[int] = []

    def acquire(self) -> None:
        """Create the directory if need be (for this user only) and lock it.

        Raises StateDirError when it cannot be created or written, or when another process is its server.
        """
        fd = -1
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Python opens close-on-exec: no child may hold the lock on after this process.
            fd = os.open(self.state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            message = self._explain(error, fd)
            if fd >= 0:
                os.close(fd)
            raise StateDirError(message, _public(error)) from error
        self._fd = fd

    def look(self) -> None:
        """Make the file anew where it was removed, and lock it too: else a second server could start here.

        Raises StateDirError where that cannot be, or where one has started already.
        """
        held = self._fd
        if held is None or self._is_there(held):
            return
        try:
            self.acquire()
        except StateDirError:
            self._fd = held
            raise
        self._outlived.append(held)  # whoever waits for that one waits for this server

    def _is_there(self, fd: int) -> bool:
        try:
            return os.path.samestat((self.state_dir / LOCK_NAME).stat(), os.fstat(fd))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _explain(self, error: OSError, fd: int) -> str:
        if isinstance(error, BlockingIOError):
            return (
                f"the state directory {self.state_dir} is in use by another server (process {_written(fd)}); "
                "stop that one, or choose another --state-dir"
            )
        return (
            f"the state directory {self.state_dir} cannot be used ({error.strerror}); check its owner, its permissions "
            "and the space on its disk, or choose another --state-dir"
        )

    def release(self) -> None:
        """Let go of the directory. The file stays: removing it would let two servers lock two files."""
        for fd in (self._fd, *self._outlived):
            if fd is not None:
                os.close(fd)
        self._fd, self._outlived = None, []

    def __enter__(self) -> StateDirLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(state_dir: Path) -> str | None:
    """The process that is the server of a state directory, by its number; None where there is none. Changes nothing.

    Raises OSError where that cannot be seen.
    """
    try:
        fd = os.open(state_dir / LOCK_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(fd)
    finally:
        os.close(fd)
    return None


def _written(fd: int) -> str:
    return os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"


def _public(error: OSError) -> str:
    if isinstance(error, BlockingIOError):
        return "another server uses the state directory: stop it"
    return (
        f"{LOCK_NAME} in the state directory cannot be made again ({error.strerror}): check the owner, the permissions "
        "and the space of the state directory"
    )
