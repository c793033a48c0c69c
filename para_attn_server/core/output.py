"""An output file's way: written in a hidden folder of its job's own, sealed, recorded by the controller, then renamed.

    <folder>/.<job id>.part/<name>      while predict writes it, until its job's end is on record
    <folder>/<name>                     afterwards
    <folder>/.<job id>.part/.rank-1/    what rank 1 writes to its own output_path, which is not used

Whoever sees a job that has succeeded finds its file at one of the two places. What else a predictor writes into the
folder of the job goes with it. Nothing is flushed to disk: what must outlast a loss of power is the accepted job, and
its output can be made again. This module decides nothing about a job's end.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from para_attn_server.core.disk import has_room
from para_attn_server.core.job import Output
from para_attn_server.core.media_types import media_type

LEFTOVER = re.compile(r"\.([0-9a-f]{32})\.part.*")
"""The name of a job's folder; the group is the job's id."""
LEAST_FREE = 64 * 2**10
"""Bytes without which no job is begun: no picture fits."""
_BLOCK = 2**20
_OF_RANK = ".rank-"
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class OutputUnfit(Exception):
    """What is at a path is not what may be published; the message says what it is."""


def part_folder(output_path: str | Path, job_id: str) -> Path:
    """The job's own folder, beside its output."""
    return Path(output_path).with_name(f".{job_id}.part")


def temporary_path(output_path: str | Path, job_id: str, rank: int = 0) -> Path:
    """Where predict writes on this rank: a file of the final name, in the job's own folder on the same disk.

    Only rank zero's is the output. Each other rank has a folder of its own below, so that a predictor which saves on
    every rank does not write one file several times at once.
    """
    folder = part_folder(output_path, job_id)
    return (folder / f"{_OF_RANK}{rank}" if rank else folder) / Path(output_path).name


def prepare(output_path: str | Path, job_id: str) -> None:
    """Make the job's folder, empty. Raises OSError where that cannot be, or where no room is left for an output."""
    folder = part_folder(output_path, job_id)
    try:
        folder.mkdir()
    except FileExistsError:
        remove_leftover(folder)
        folder.mkdir()
    if not has_room(folder, LEAST_FREE):
        sweep(output_path, job_id)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def prepare_rank(output_path: str | Path, job_id: str, rank: int) -> None:
    """Make the folder of a rank other than zero, within the job's, which must be there.

    Where the disk refuses it, predict's own write says so, if it writes at all on this rank.
    """
    with contextlib.suppress(OSError):
        temporary_path(output_path, job_id, rank).parent.mkdir()


def seal(output_path: str | Path, job_id: str, on_block: Callable[[], None]) -> Output:
    """The finished output, still at its temporary path. on_block: called while a large file is read.

    Raises FileNotFoundError when predict wrote no such file, OutputUnfit when an empty file or something else is there
    (a symbolic link would publish any file of the machine), other OSErrors when the disk refuses.
    """
    temporary = temporary_path(output_path, job_id)
    if not _regular(temporary).st_size:
        raise OutputUnfit("an empty file")
    digest = hashlib.sha256()
    with os.fdopen(os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            on_block()
        found = os.fstat(file.fileno())
    path = str(output_path)
    return Output(path, media_type(path), found.st_size, digest.hexdigest(), found.st_ino, found.st_mtime_ns)


def refusal(output: Output, job_id: str) -> str | None:
    """Why a sealed output cannot be published, None when it can; looked at before the job's end is recorded."""
    try:
        if not is_sealed(output, _regular(temporary_path(output.path, job_id))):
            return "the file was changed after predict() had returned"
        with contextlib.suppress(FileNotFoundError):
            _regular(Path(output.path))
    except OutputUnfit as error:
        return f"in the place of the output there is {error}"
    except OSError as error:
        return f"the output cannot be read: {error.strerror}"
    return None


def publish(outputs: Sequence[Output], job_id: str) -> list[str]:
    """Give the sealed outputs of a job their final names, each in one step; the paths of files that they have replaced.

    One that has its name already keeps it. Raises FileNotFoundError when one is gone, other OSErrors when the disk
    refuses.
    """
    replaced = [output.path for output in outputs if _rename(output, job_id)]
    sweep(outputs[0].path, job_id)
    return replaced


def _rename(output: Output, job_id: str) -> bool:
    """Whether it takes the place of another file."""
    replaces = os.path.lexists(output.path)
    try:
        os.replace(temporary_path(output.path, job_id), output.path)  # noqa: PTH105 - also where both are one file
    except FileNotFoundError:
        if replaces and is_sealed(output, Path(output.path).lstat()):
            return False
        raise
    return replaces


def sweep(output_path: str | Path, job_id: str) -> None:
    """Remove the job's folder with whatever is in it, as far as the disk allows."""
    remove_leftover(part_folder(output_path, job_id))


def remove_leftover(path: Path) -> None:
    """Remove a folder with its content, or whatever else has that name."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return
    except NotADirectoryError:
        with contextlib.suppress(OSError):
            path.unlink()
    except OSError:
        shutil.rmtree(path, ignore_errors=True)


def beside(output_path: str | Path, job_id: str) -> list[str]:
    """Names of what else predict has written into the job's folder on rank zero, in order."""
    own = Path(output_path).name
    with contextlib.suppress(OSError), os.scandir(part_folder(output_path, job_id)) as found:
        return sorted(entry.name for entry in found if entry.name != own and not entry.name.startswith(_OF_RANK))
    return []


def written_by_others(output_path: str | Path, job_id: str) -> bool:
    """Whether a rank other than zero has written its output_path."""
    return any(part_folder(output_path, job_id).glob(f"{_OF_RANK}*/{glob.escape(Path(output_path).name)}"))


def is_sealed(output: Output, found: os.stat_result) -> bool:
    """Whether a file is the very one that was sealed, unchanged; a copy of it is not."""
    return (found.st_size, found.st_ino, found.st_mtime_ns) == (output.size, output.inode, output.mtime_ns)


def _regular(path: Path) -> os.stat_result:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OutputUnfit(f"{_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a file")
    return found
