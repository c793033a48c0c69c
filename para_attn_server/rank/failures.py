"""From an exception in a predictor to the JobError that its client sees, without traceback or server paths."""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from para_attn_server.core.errors import InvalidInput, JobError
from para_attn_server.core.output import LEFTOVER, OutputUnfit, part_folder
from para_attn_server.core.printable import printable
from para_attn_server.rank.encode.kinds import Unencodable
from para_attn_server.rank.encode.parts import type_text

_LONGEST = 500
_SEARCHED = 4096
"""Characters of a text that are searched for paths: a predictor's text can be of any length, and of any kind."""
_LONGEST_TYPE = 100
_LONGEST_LOGGED, _LONGEST_TRACEBACK = 64 * 1024, 16 * 1024
_URL = r"(?P<url>\b(?!file:)[a-z][a-z0-9+.-]{0,30}://\S+)"
_FOLDER = r"[^/\n'\",;:]*[^/\s'\",;:]/"  # may hold spaces; " /" begins another path
_PATH = re.compile(rf"{_URL}|(?:\bfile:)?(?<![\w./])/+[^/\s'\",;:]+/(?:{_FOLDER})*[^/\s'\",;:)\]]*")
_DISK = {
    errno.ENOSPC: "free some space on the output disk",
    errno.EDQUOT: "the output disk's quota is used up",
    errno.EROFS: "the output folder is on a read-only file system",
    errno.EACCES: "the server may not write to the output folder",
    errno.EPERM: "the server may not write to the output folder",
    errno.EIO: "the output disk reports errors",
    errno.ENOENT: "the folder of the output is not there any more; make it again, or name another",
}
_MEMORY_HINT = "lower the size, the number of frames or the batch, or use more devices per group"
_WRITE_IT = (
    "return what it made, or write exactly the file that output_path names, on rank zero; self.output_path() names "
    "further ones"
)


class OutputMissing(Exception):
    """predict returned on rank zero and no file is at output_path.

    others: names of files that it wrote beside it. returned: what it returned, which is not used. by_others: whether
    another rank wrote its own, which is not used either. further: the name of the file that is missing, where that is
    one of those that self.output_path() has named.
    """

    def __init__(
        self, others: Sequence[str] = (), returned: object = None, by_others: bool = False, further: str = ""
    ) -> None:
        what = "" if returned is None else f" a value of type {type_text(returned)}, which is not used"
        wrote = f"; it wrote {named(others)} beside it" if others else ""
        wrote += "; another rank wrote one, but only that of rank zero counts" if by_others else ""
        where = f"{further}, which self.output_path() has named" if further else "output_path"
        super().__init__(f"predict() returned{what}, but wrote no file at {where}{wrote}")


def named(names: Sequence[str]) -> str:
    """A few names of files, for people."""
    if len(names) == 1:
        return names[0]
    return f"{len(names)} other files such as {names[0]}"


class ArgumentsDiffer(Exception):
    """The ranks were given different arguments."""


def describe(error: BaseException, rank: int, step: int | None, output_path: str) -> JobError:
    """What the client of a failed job gets. output_path: where its output was to be."""
    if isinstance(error, InvalidInput):
        return JobError("invalid_input", plain_message(error), rank)
    if isinstance(error, OutputMissing):
        return JobError("output_missing", plain_message(error), rank, step, _WRITE_IT)
    if isinstance(error, OutputUnfit):
        message = f"predict() returned, but at output_path there is {error}"
        return JobError("output_missing", message, rank, step, _WRITE_IT)
    if isinstance(error, Unencodable):
        return JobError(
            "output_invalid", f"what predict() returned cannot be encoded: {plain_message(error)}", rank, step
        )
    if isinstance(error, ArgumentsDiffer):
        return JobError("arguments_mismatch", "the ranks hold different arguments for this job", rank)
    if _out_of_memory(error):
        return JobError("out_of_memory", plain_message(error) or "out of memory", rank, step, _MEMORY_HINT)
    if _of_the_output(error, output_path):
        assert isinstance(error, OSError) and error.errno is not None
        message = f"the output cannot be written: {plain_message(OSError(error.errno, error.strerror))}"
        return JobError("output_unwritable", message, rank, step, _DISK[error.errno])
    return JobError(type_name(error), plain_message(error) or type_name(error), rank, step)


def type_name(error: BaseException) -> str:
    """The name of the exception's class: its author chose it, so it is cut, and what cannot be shown is replaced."""
    return printable(type(error).__name__[:_LONGEST_TYPE]).encode(errors="replace").decode()


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch says it of host memory with a plain RuntimeError
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in _said(error)


def _of_the_output(error: BaseException, output_path: str) -> bool:
    """Whether a disk refuses the output: a file in its folder, or one without a name, as where a disk is full."""
    if not (isinstance(error, OSError) and isinstance(error.errno, int) and error.errno in _DISK):
        return False
    if not isinstance(error.filename, str | bytes):
        return error.errno != errno.ENOENT
    path, folder = Path(os.fsdecode(error.filename)), Path(output_path).parent
    own = next((place for place in (path, *path.parents) if LEFTOVER.fullmatch(place.name)), path.parent)
    job = LEFTOVER.fullmatch(own.name)
    of_job = job is not None and own == part_folder(output_path, job[1])
    if error.errno == errno.ENOENT:  # of other files in there it is the predictor's own fault
        return of_job and not own.exists()
    return of_job or path.parent == folder or folder.is_relative_to(path)


def plain_message(error: BaseException) -> str:
    """The exception's text: cut short, no traceback, of paths of the server the last part only.

    A lone surrogate (in the name of a file, say) becomes a question mark, since no answer in UTF-8 could hold it; and
    so does a control character, which could move the cursor of the terminal that shows the text.
    """
    text = shortened(_said(error), _SEARCHED).split("Traceback (most recent call last)")[0].strip()
    return printable(_PATH.sub(_last_part, text)[:_LONGEST]).encode(errors="replace").decode()


def shortened(text: str, most: int) -> str:
    """The text up to the last whole word within `most` characters, so that no path is cut in its middle."""
    if len(text) <= most:
        return text
    words, _, _ = text[:most].rpartition(" ")
    return words or text[:most]


def _last_part(found: re.Match[str]) -> str:
    return found["url"] or found[0].rstrip("/").rpartition("/")[2]


def _said(error: BaseException) -> str:
    """Its text; the name of its type where its class is so broken that it has none."""
    try:
        if not isinstance(error, OSError) or not error.strerror:
            return str(error)
        of_what = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{of_what}{error.strerror}"
    except BaseException:  # any code of the predictor's can be in __str__
        return type_name(error)


def full_text(error: BaseException) -> str:
    """The traceback, for the log; the name of the exception's type where its class is too broken for one.

    The middle of a very long one is left out.
    """
    try:
        return _ends("".join(traceback.format_exception(error)), _LONGEST_LOGGED)
    except BaseException:
        return f"{type_name(error)} (it cannot be printed)\n"


def traceback_for_job(error: BaseException) -> str:
    """The traceback, for whoever may see the job's log: of paths of the server what is below site-packages, else the
    last part. Empty where the error is not of the predictor's code."""
    if isinstance(error, InvalidInput | ArgumentsDiffer | OutputMissing | OutputUnfit | Unencodable):
        return ""
    text = _PATH.sub(_below_packages, _ends(full_text(error), _LONGEST_TRACEBACK))
    return printable(text).encode(errors="replace").decode()


def _ends(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters are left out ...\n{text[-half:]}"


def _below_packages(found: re.Match[str]) -> str:
    _, packages, below = found[0].rpartition("/site-packages/")
    return below if packages and not found["url"] else _last_part(found)
