"""Where the controller's temporary files are: in the state directory, so that the next start finds what a kill has
left.

They are multiprocessing's, which has a socket for the forkserver among them and removes it at an orderly end alone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from multiprocessing import process
from pathlib import Path

from para_attn_server.core.errors import StateDirError

FOLDER = "run"


class RunFolder:
    """The folder of this process's temporary files, from now on and until it ends; its state directory must be locked.

    The path that is given out leads through a descriptor: a socket's address has 107 bytes, however deep the state
    directory lies. Raises StateDirError.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._folder.mkdir(exist_ok=True)
            self._descriptor = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            reason = f"{self._folder} cannot be made ({error.strerror}); choose another --state-dir"
            raise StateDirError(reason) from None
        tempfile.tempdir = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def look(self) -> bool:
        """Make it anew where it was removed, at the same path and descriptor; whether it was. Raises OSError.

        What was in it is gone: a forkserver whose socket was there is replaced at the next launch
        (executors/forkserver.py).
        """
        anew = not _is(self._folder, os.fstat(self._descriptor))
        if anew:
            self._folder.mkdir(exist_ok=True)
            opened = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
            os.dup2(opened, self._descriptor, inheritable=False)
            os.close(opened)
        known = process.current_process()._config.get("tempdir")  # type: ignore[attr-defined] # made once, by then
        if known is not None and not Path(known).is_dir():
            Path(known).mkdir(mode=0o700, exist_ok=True)
            anew = True
        return anew


def _is(path: Path, known: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), known)
    except (FileNotFoundError, NotADirectoryError):
        return False
