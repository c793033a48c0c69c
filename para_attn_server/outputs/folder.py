"""The life of outputs in a local folder: where one is to be, its name once its job has succeeded, its bytes, its end.

    resolve   its path, when a request comes            a web worker
    (written and sealed by a rank: core/output.py, since ranks import nothing else)
    unfit     whether it may be published               the controller, before the end of its job is recorded
    publish   its name, once that is on record          the controller
    open      its bytes                                 a web worker
    remove    its end                                   the controller

It knows of no store: when something is due is for `pool/publishing.py` and `controller/retention.py` to say.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

from para_attn_server.core.disk import free_bytes
from para_attn_server.core.errors import InsufficientStorage, NotAccepting, OutputGone
from para_attn_server.core.job import Output
from para_attn_server.core.output import (
    DAY_TRIES,
    LEAST_FREE,
    OutputUnfit,
    dated,
    drop_day,
    make_day,
    part_folder,
    regular,
    remove_leftover,
    sweep,
    temporary_path,
)
from para_attn_server.core.settings import Settings
from para_attn_server.outputs.own import is_sealed, open_own
from para_attn_server.outputs.requested import checked_path


class OutputFolder:
    """The output root and what is below it.

    allow_any: requests may also name absolute paths and use `..`, anywhere on this machine but in the state directory.
    state_dir: the server's own files, the queue's database among them; it may lie below the root, or the root in it.
    min_free: bytes that must be free for new outputs; less than any picture has is never enough.
    """

    def __init__(self, root: Path, allow_any: bool, state_dir: Path, min_free: int = 0) -> None:
        self.root = root
        self._mounted = _mount_point(root)
        self.allow_any = allow_any
        self.state_dir = state_dir
        self.min_free = max(min_free, LEAST_FREE)

    # --- the root ---

    def look(self) -> str | None:
        """Make the root anew where it is gone; why that cannot be, None if it is there.

        A root whose file system is not mounted any more is not made anew: it would hide the outputs, and fill another
        disk.
        """
        if not os.path.ismount(self._mounted):
            return "the file system of the output root is not mounted any more; mount it again"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return f"the output root is gone and cannot be made anew ({error.strerror})"
        return None

    def unwritable(self) -> str | None:
        """Why no output can be written below the root now, however much room there is; None if one can."""
        return None if os.access(self.root, os.W_OK | os.X_OK) else "the output root cannot be written to"

    def full(self) -> str | None:
        """Why no output should be begun below the root, None where there is room. Without the number of free bytes,
        which changes all the time."""
        try:
            self._check_room(self.root)
        except InsufficientStorage as error:
            return f"the disk of the output root is full: less than {error.wanted} bytes (--min-free) are free"
        except NotAccepting as error:
            return str(error)
        return None

    def _check_room(self, folder: Path) -> None:
        """Raises InsufficientStorage where too little is free, NotAccepting where the disk cannot be asked."""
        try:
            free = free_bytes(folder)
        except OSError as error:
            raise NotAccepting(f"the output root cannot be used ({error.strerror})") from None
        if free is not None and free < self.min_free:
            raise InsufficientStorage(free, self.min_free)

    # --- an output's life ---

    def resolve(self, requested: str | None, job_id: str, suffix: str, now: float) -> Path:
        """The absolute path of a job's output; the server names the file when None is requested, by day (that of `now`,
        in Unix seconds), id and suffix.

        A root that is gone is made anew; raises NotAccepting where that cannot be, InvalidInput where the request may
        not have that path, and InsufficientStorage where less than min_free is free on its disk.
        """
        if not self.root.is_dir() and (reason := self.look()) is not None:
            raise NotAccepting(reason)
        real_root = Path(os.path.realpath(self.root))
        if requested is None:
            self._check_room(real_root)
            return dated(real_root, now, f"{job_id}{suffix}")
        path = checked_path(requested, real_root, self.state_dir, self.allow_any, job_id, suffix)
        self._check_room(path.parent)
        return path

    def unfit(self, job_id: str, outputs: Sequence[Output]) -> str | None:
        """Why the sealed outputs of a job cannot be published, None when they can."""
        try:
            for output in outputs:
                if not is_sealed(output, regular(temporary_path(output.path, job_id))):
                    return "the file was changed after predict() had returned"
                with contextlib.suppress(FileNotFoundError):
                    regular(Path(output.path))
        except OutputUnfit as error:
            return f"in the place of the output there is {error}"
        except OSError as error:
            return f"the output cannot be read: {error.strerror}"
        return None

    def publish(self, job_id: str, outputs: Sequence[Output]) -> list[str]:
        """Give the sealed outputs of a job their names, each in one step; the paths of files that they have replaced.

        One that has its name already keeps it. Raises FileNotFoundError when one is gone, other OSErrors when the disk
        refuses.
        """
        replaced = [output.path for output in outputs if _renamed(job_id, output)]
        for folder in {part_folder(output.path, job_id) for output in outputs}:
            remove_leftover(folder)
        return replaced

    def discard(self, job_id: str, output_path: str | Path) -> None:
        """Remove whatever a run has written that is not to be published, as far as the disk allows."""
        sweep(output_path, job_id)

    def open(self, job_id: str, output: Output) -> BufferedReader:
        """The job's own output: not what another job, or a person, has put in its place since it ended.

        Between the record of a job's end and the renaming of its output the file is still at its temporary path. That
        is looked at first: what is not there any more has its name. Raises OutputGone.
        """
        for path in (temporary_path(output.path, job_id), Path(output.path)):
            if (file := open_own(path, output)) is not None:
                return file
        raise OutputGone("The output's file was removed from the server, or replaced by another since the job ended.")

    def remove(self, job_id: str, output: Output, modified_before: float) -> bool:
        """Remove a job's output, and the folder of its day if that is empty then; True when the file is gone now.

        It may not have got its name yet, or get it meanwhile. Leaves alone what is no regular file, what is reached
        through a link, what is outside the root (unless allow_any), and, unless it is the very file that was sealed,
        one changed at or after `modified_before` (Unix seconds): another job's, or a person's. Raises OSError where the
        disk refuses.
        """
        file = Path(output.path)
        if Path(os.path.realpath(file)) != file:
            return False
        if not self.allow_any and not file.is_relative_to(os.path.realpath(self.root)):
            return False
        if unnamed := os.path.lexists(temporary_path(file, job_id)):
            sweep(file, job_id)
        try:
            found = file.lstat()
        except OSError:
            return unnamed
        if not stat.S_ISREG(found.st_mode):
            return unnamed
        if not is_sealed(output, found) and (unnamed or found.st_mtime >= modified_before):
            return unnamed
        file.unlink(missing_ok=True)
        drop_day(file, job_id)
        return True


def output_folder(settings: Settings) -> OutputFolder:
    """The output folder of a server with these settings."""
    root, state_dir = settings.output_dir, settings.state_dir
    return OutputFolder(root, settings.allow_any_output_path, state_dir, settings.min_free)


def _renamed(job_id: str, output: Output) -> bool:
    """Whether it took the place of another file."""
    part, final = temporary_path(output.path, job_id), Path(output.path)
    replaces = os.path.lexists(final)
    for tries_left in reversed(range(DAY_TRIES)):
        try:
            os.replace(part, final)  # noqa: PTH105 - also where both are one file
            break
        except FileNotFoundError:
            if not os.path.lexists(part):
                if replaces and is_sealed(output, final.lstat()):
                    return False
                raise
            if not tries_left:
                raise
            make_day(final, job_id)  # somebody has removed it
    return replaces


def _mount_point(path: Path) -> Path:
    """Where the file system of a path is mounted."""
    real = Path(os.path.realpath(path))
    return next(each for each in (real, *real.parents) if os.path.ismount(each))
