"""Whether a request may have its output at the path that it names. Judges the path only; writes and opens nothing.

The check holds for the moment of submission. A path that passes has no links in it, but a program with write access to
the output root may put one in afterwards, and the rank would follow it: give that access only to whom you trust with
this user's files.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NoReturn

from para_attn_server.core.arguments import OUTPUT_PATH
from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.media_types import MEDIA_TYPES
from para_attn_server.core.output import temporary_path
from para_attn_server.core.uploads import FOLDER

_MOST_NAME_BYTES = 255
_MOST_PATH_BYTES = 4095
_TOO_LONG = f"is too long; a file name and its suffix may have {_MOST_NAME_BYTES} bytes at most"
_NOTHING = 0
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def checked_path(requested: str, real_root: Path, state_dir: Path, allow_any: bool, job_id: str, suffix: str) -> Path:
    """The absolute path, without links, of an output that a request has named.

    real_root: the output root without links. suffix: the predictor's own. Raises InvalidInput that says what is right
    and nothing about the server's folders. A file that is there already will be replaced.
    """
    _check_text(requested, allow_any)
    path = real_root / requested
    if path.name.startswith(".") or not path.name:
        _refuse("must end in a file name that does not begin with a dot")
    final = Path(os.path.realpath(path.parent)) / path.name
    if not allow_any and not final.is_relative_to(real_root):
        _refuse("leads outside the output root; give a path below it, without links that leave it")
    if _is_state(final, real_root, state_dir):
        _refuse("leads to where the server keeps its own files; choose another directory")
    if _kind(final.parent) != stat.S_IFDIR:
        _refuse("its directory does not exist; name a file in an existing directory")
    _check_lengths(final, job_id)
    if _kind(final) not in (_NOTHING, stat.S_IFREG):
        _refuse("there is something other than a file in that place; choose another name")
    _check_suffix(path.suffix.lower(), suffix.lower())
    return final


def _is_state(final: Path, real_root: Path, state_dir: Path) -> bool:
    """Whether a path without links is among the uploads, or in the state directory, but not in a root that itself lies
    in there."""
    state = Path(os.path.realpath(state_dir))
    is_output = state in real_root.parents and final.is_relative_to(real_root)
    return (final.is_relative_to(state) and not is_output) or final.is_relative_to(real_root / FOLDER)


def _check_text(requested: str, allow_any: bool) -> None:
    if not requested or _UNFIT.search(requested):
        _refuse("must be a non-empty file path without control characters or lone surrogates")
    if len(os.fsencode(requested)) > _MOST_PATH_BYTES:  # before anything follows it: that takes a look per directory
        _refuse(_TOO_LONG)
    if requested.endswith("/"):
        _refuse("must name a file, not a directory")
    if allow_any:
        return
    if requested.startswith("/"):
        _refuse("absolute paths are refused; give a path relative to the output root")
    if ".." in requested.split("/"):
        _refuse("`..` is refused; give a path below the output root")


def _check_lengths(final: Path, job_id: str) -> None:
    for path in (final, temporary_path(final, job_id)):
        if len(os.fsencode(path.name)) > _MOST_NAME_BYTES or len(os.fsencode(path)) > _MOST_PATH_BYTES:
            _refuse(_TOO_LONG)


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
