"""Where the parent's temporary files are: in the state directory, so that the next start finds what a kill has left.

They are multiprocessing's, which has a socket for the forkserver among them and removes it at an orderly end alone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from para_attn_server.core.errors import StateDirError

FOLDER = "run"


def keep_temporary_files_in(state_dir: Path) -> None:
    """From now on, and until this process ends; the state directory must be locked.

    The path that is given out leads through a descriptor: a socket's address has 107 bytes, however deep the state
    directory lies. Raises StateDirError.
    """
    folder = state_dir / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise StateDirError(f"{folder} cannot be made ({error.strerror}); choose another --state-dir") from None
    tempfile.tempdir = f"/proc/{os.getpid()}/fd/{descriptor}"
