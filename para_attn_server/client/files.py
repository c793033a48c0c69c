"""Saves an output at a path: whole or not at all over a regular file or a free name, straight into anything else."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_SUFFIX = re.compile(r'filename="?[^";]*?(\.[A-Za-z0-9]+)"?\s*(?:;|$)')


def save(path: str | Path, download: Callable[[Path], str]) -> Path:
    """Have `download` write a file and put it at `path`; returns where it is.

    download: writes the file it is given, and returns the name to take where the path is a folder. A path that ends
    with a slash is a folder, which is made if it is not there. A symlink is followed. The file that is replaced keeps
    its mode. Raises what `download` raises, and OSError.
    """
    final = Path(path)
    made = os.fspath(path).endswith("/") and not final.is_dir()
    if made:
        final.mkdir()
    try:
        return _save(final, download)
    except BaseException:
        if made:
            with suppress(OSError):
                final.rmdir()
        raise


def check_folder(path: str | Path) -> None:
    """Raises FileNotFoundError where `save` would find no folder for `path`: before a job is drawn for it."""
    if not os.fspath(path).endswith("/") and not (folder := Path(path).parent).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; make it first")


def beside(first: Path, index: int, suffix: str) -> Path:
    """The name of a further file of a job whose first one is there: `star-1.png` beside `star.png`."""
    return first.with_name(f"{first.stem}-{index}{suffix}")


def suffix_of(disposition: str) -> str:
    """The suffix of the file name in a Content-Disposition; empty where there is none."""
    found = _SUFFIX.search(disposition)
    return found[1] if found else ""


def _save(final: Path, download: Callable[[Path], str]) -> Path:
    is_folder, found, real = final.is_dir(), _stat(final), Path(os.path.realpath(final))
    folder = real if is_folder else real.parent if _is_replaceable(final) else Path(tempfile.gettempdir())
    # Not after the final name, which may have as many bytes as a name can have.
    partial = folder / f".{secrets.token_hex(8)}.part"
    try:
        partial.touch(0o666 if is_folder or found is None else 0o600, exist_ok=False)
        name = download(partial)
        target = final / name if is_folder else final
        _put(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _put(file: Path, target: Path) -> None:
    if not _is_replaceable(target):
        # Never made by this, and never a terminal that controls this process.
        there = os.open(target, os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY)
        with os.fdopen(there, "wb") as out, file.open("rb") as data:
            shutil.copyfileobj(data, out)
        return
    found = _stat(target)
    if found is not None:
        file.chmod(found.st_mode & 0o777)
    file.replace(os.path.realpath(target))


def _is_replaceable(path: Path) -> bool:
    """Whether a rename may put a file there: nothing is, or a regular file that has the name (`/dev/fd/1` may not)."""
    found, named = _stat(path), _stat(Path(os.path.realpath(path)))
    if found is None:
        return True
    return stat.S_ISREG(found.st_mode) and named is not None and os.path.samestat(found, named)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
