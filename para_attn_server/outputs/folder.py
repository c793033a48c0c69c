"""The folder that outputs are written to: where a request may have its file, and the removal of old ones.

It writes nothing; ranks do, through `core.output`. The check of a path holds for the moment of submission. A path
that passes has no links in it, but a program with write access to the output root may put one in afterwards, and the
rank would follow it: give that access only to whom you trust with this user's files.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NoReturn

from para_attn_server.core.arguments import OUTPUT_PATH
from para_attn_server.core.disk import has_room
from para_attn_server.core.errors import FieldError, InvalidInput, NotAccepting
from para_attn_server.core.media_types import MEDIA_TYPES
from para_attn_server.core.output import LEAST_FREE, temporary_path

_MOST_NAME_BYTES = 255
_MOST_PATH_BYTES = 4095
_TOO_LONG = f"is too long; a file name and its suffix may have {_MOST_NAME_BYTES} bytes at most"
_NOTHING = 0
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class OutputFolder:
    """The output root and its rules.

    allow_any: requests may also name absolute paths and use `..`, anywhere on this machine but in the state directory.
    state_dir: the server's own files, the queue's database among them; it may lie below the root, or the root in it.
    """

    def __init__(self, root: Path, allow_any: bool, state_dir: Path) -> None:
        self.root = root
        self._mounted = _mount_point(root)
        self.allow_any = allow_any
        self.state_dir = state_dir

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
        """Why no output can be written below the root now, None if one can."""
        try:
            if not has_room(self.root, LEAST_FREE):
                return "the disk of the output root is full; free some space"
        except OSError as error:
            return f"the output root cannot be used ({error.strerror})"
        if not os.access(self.root, os.W_OK | os.X_OK):
            return "the output root cannot be written to"
        return None

    def resolve(self, requested: str | None, job_id: str, suffix: str) -> Path:
        """The absolute path of a job's output; the server names the file (id and suffix) when None is requested.

        A root that is gone is made anew; raises NotAccepting where that cannot be, and InvalidInput that says what is
        right and tells nothing about the server's folders. A file that is there already will be replaced.
        """
        if not self.root.is_dir() and (reason := self.look()) is not None:
            raise NotAccepting(reason)
        real_root = Path(os.path.realpath(self.root))
        if requested is None:
            return real_root / f"{job_id}{suffix}"
        self._check_text(requested)
        path = real_root / requested
        if path.name.startswith(".") or not path.name:
            _refuse("must end in a file name that does not begin with a dot")
        final = Path(os.path.realpath(path.parent)) / path.name
        if not self.allow_any and not final.is_relative_to(real_root):
            _refuse("leads outside the output root; give a path below it, without links that leave it")
        if self._is_state(final, real_root):
            _refuse("leads to where the server keeps its own files; choose another directory")
        if _kind(final.parent) != stat.S_IFDIR:
            _refuse("its directory does not exist; name a file in an existing directory")
        self._check_lengths(final, job_id)
        if _kind(final) not in (_NOTHING, stat.S_IFREG):
            _refuse("there is something other than a file in that place; choose another name")
        _check_suffix(path.suffix.lower(), suffix.lower())
        return final

    def remove(self, path: str | Path, *, modified_before: float | None = None) -> bool:
        """Remove a job's output file, by the path recorded in the job; True when it is gone now.

        Leaves alone what is no regular file, what is reached through a link, what is outside the root (unless
        allow_any), and a file changed at or after `modified_before` (Unix seconds): another job's, or a person's.
        Raises OSError where the disk refuses.
        """
        file = Path(path)
        if Path(os.path.realpath(file)) != file:
            return False
        if not self.allow_any and not file.is_relative_to(os.path.realpath(self.root)):
            return False
        try:
            found = file.lstat()
        except OSError:
            return False
        if not stat.S_ISREG(found.st_mode) or (modified_before is not None and found.st_mtime >= modified_before):
            return False
        file.unlink(missing_ok=True)
        return True

    def _is_state(self, final: Path, real_root: Path) -> bool:
        """Whether a path without links is in the state directory, but not in a root that itself lies in there."""
        state = Path(os.path.realpath(self.state_dir))
        is_output = state in real_root.parents and final.is_relative_to(real_root)
        return final.is_relative_to(state) and not is_output

    def _check_text(self, requested: str) -> None:
        if not requested or _UNFIT.search(requested):
            _refuse("must be a non-empty file path without control characters or lone surrogates")
        if (
            len(os.fsencode(requested)) > _MOST_PATH_BYTES
        ):  # before anything follows it: that takes a look per directory
            _refuse(_TOO_LONG)
        if requested.endswith("/"):
            _refuse("must name a file, not a directory")
        if self.allow_any:
            return
        if requested.startswith("/"):
            _refuse("absolute paths are refused; give a path relative to the output root")
        if ".." in requested.split("/"):
            _refuse("`..` is refused; give a path below the output root")

    @staticmethod
    def _check_lengths(final: Path, job_id: str) -> None:
        for path in (final, temporary_path(final, job_id)):
            if len(os.fsencode(path.name)) > _MOST_NAME_BYTES or len(os.fsencode(path)) > _MOST_PATH_BYTES:
                _refuse(_TOO_LONG)


def _mount_point(path: Path) -> Path:
    """Where the file system of a path is mounted."""
    real = Path(os.path.realpath(path))
    return next(each for each in (real, *real.parents) if os.path.ismount(each))


def _kind(path: Path) -> int:
    """The type bits of what is there (of a link itself), 0 when nothing is or when it cannot be seen."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return _NOTHING


def _check_suffix(suffix: str, own: str) -> None:
    """The suffix says which format is written; the predictor's own is always one of them."""
    if suffix == own or suffix in MEDIA_TYPES:
        return
    kind = MEDIA_TYPES.get(own, "").partition("/")[0]
    known = sorted(MEDIA_TYPES, key=lambda each: (each != own, MEDIA_TYPES[each].partition("/")[0] != kind, each))
    wrong = f"a suffix that is known, not {suffix}" if suffix else "a suffix, which says the format"
    _refuse(f"must have {wrong}: one of {' '.join(dict.fromkeys([*filter(None, [own]), *known]))}")


def _refuse(detail: str) -> NoReturn:
    raise InvalidInput([FieldError(f"#/{OUTPUT_PATH}", detail)])
