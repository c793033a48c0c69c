"""An output file while it is written: in a hidden folder of its job's own, until the end of the job is on record.

    <folder>/.<job id>.part/<name>      while predict writes it, until its job's end is on record
    <folder>/<name>                     afterwards
    <folder>/.<job id>.part/.rank-1/    what rank 1 writes to its own output_path, which is not used

A file that the server names lies in `yyyy/mm/dd` below the output root, and its job's folder is in the root itself:
so no day's folder has anything but finished outputs in it, and partial ones are found without a look at every day.

Whoever sees a job that has succeeded finds its file at one of the two places. What else a predictor writes into the
folder of the job goes with it. Nothing is flushed to disk: what must outlast a loss of power is the accepted job, and
its output can be made again. Here is what ranks need, who may import nothing above `core`; all else that becomes of an
output is in `outputs/folder.py`.
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
import time
from collections.abc import Callable
from pathlib import Path

from para_attn_server.core.disk import has_room
from para_attn_server.core.job import Output
from para_attn_server.core.media_types import media_type

LEFTOVER = re.compile(r"\.([0-9a-f]{32})\.part.*")
"""The name of a job's folder; the group is the job's id."""
LEAST_FREE = 64 * 2**10
"""Bytes without which no job is begun: no picture fits."""
_DATE = re.compile(r"/[0-9]{4}/[0-9]{2}/[0-9]{2}\Z")
_BLOCK = 2**20
DAY_TRIES = 1000
"""To use a folder of a day, which the ends of other jobs remove while it is empty: all of them take some 10 ms."""
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


def dated(root: Path, now: float, name: str) -> Path:
    """Where the server puts a file of its own naming: the day (UTC) is that of `now`, in Unix seconds."""
    return root / time.strftime("%Y/%m/%d", time.gmtime(now)) / name


def part_folder(output_path: str | Path, job_id: str) -> Path:
    """The job's own folder: beside its output, or in the root for one that lies in a day's folder."""
    folder = os.path.dirname(output_path)  # noqa: PTH120 - several times for each job
    if named_by_server(output_path, job_id):
        folder = folder[: -len("/yyyy/mm/dd")] or "/"
    return Path(os.path.join(folder, f".{job_id}.part"))  # noqa: PTH118


def make_day(output_path: str | Path, job_id: str) -> None:
    """Make the folder of the day where the output lies in one, but not the root. Raises OSError."""
    folder, tries = Path(output_path).parent, DAY_TRIES if named_by_server(output_path, job_id) else 0
    while tries and not folder.is_dir():
        tries -= 1
        try:
            for each in (*folder.parents[1::-1], folder):
                each.mkdir(exist_ok=True)
        except (FileNotFoundError, FileExistsError):  # the end of another job has removed an empty one meanwhile
            if not tries:
                raise


def drop_day(output_path: str | Path, job_id: str) -> None:
    """Remove the folder of the day where it is empty, then the month's and the year's."""
    with contextlib.suppress(OSError):
        for each in Path(output_path).parents[:3] if named_by_server(output_path, job_id) else ():
            each.rmdir()


def named_by_server(output_path: str | Path, job_id: str) -> bool:
    """Whether the server has named it: no request knows the id of its job."""
    folder, name = os.path.split(output_path)
    return name.startswith(job_id) and _DATE.search(folder) is not None


def temporary_path(output_path: str | Path, job_id: str, rank: int = 0) -> Path:
    """Where predict writes on this rank: a file of the final name, in the job's own folder on the same disk.

    Only rank zero's is the output. Each other rank has a folder of its own below, so that a predictor which saves on
    every rank does not write one file several times at once.
    """
    folder = part_folder(output_path, job_id)
    return (folder / f"{_OF_RANK}{rank}" if rank else folder) / Path(output_path).name


def prepare(output_path: str | Path, job_id: str) -> None:
    """Make the job's folder, empty, and the day's. Raises OSError where that cannot be, or where no room is left for an
    output."""
    folder = part_folder(output_path, job_id)
    try:
        folder.mkdir()
    except FileExistsError:
        remove_leftover(folder)
        folder.mkdir()
    make_day(output_path, job_id)
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
    if not regular(temporary).st_size:
        raise OutputUnfit("an empty file")
    digest = hashlib.sha256()
    with os.fdopen(os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            on_block()
        found = os.fstat(file.fileno())
    path = str(output_path)
    return Output(path, media_type(path), found.st_size, digest.hexdigest(), found.st_ino, found.st_mtime_ns)


def sweep(output_path: str | Path, job_id: str) -> None:
    """Remove the job's folder with whatever is in it, and the day's if nothing is, as far as the disk allows."""
    remove_leftover(part_folder(output_path, job_id))
    drop_day(output_path, job_id)


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


def regular(path: Path) -> os.stat_result:
    """The file's status. Raises OutputUnfit where something else is there, OSError where nothing is."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OutputUnfit(f"{_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a file")
    return found
