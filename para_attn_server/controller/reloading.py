"""Sees that a predictor's source has changed, for --reload. What follows is the controller's business.

Looked at are the Python files of the predictor's folder and of the packages in it, by time and size. Nothing is
imported.
"""

from __future__ import annotations

from pathlib import Path

from para_attn_server.core.errors import UsageError
from para_attn_server.core.wire.launch import ModelSpec

_Seen = dict[Path, tuple[int, int]]


class SourceWatch:
    """The files of a folder since the last look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = self._latest = self._look()

    def changed(self) -> list[str]:
        """Names of the files that have changed, come or gone, once they rest: an editor may be in the midst of it."""
        before, self._latest = self._latest, self._look()
        if self._latest == self._known or self._latest != before:
            return []
        paths = self._known.keys() | self._latest.keys()
        found = [path.name for path in paths if self._known.get(path) != self._latest.get(path)]
        self._known = self._latest
        return sorted(found)

    def _look(self) -> _Seen:
        seen: _Seen = {}
        for pattern in ("*.py", "*/*.py"):
            for path in self._folder.glob(pattern):
                try:
                    found = path.stat()
                except OSError:
                    continue
                if not path.parent.name.startswith(".") or path.parent == self._folder:
                    seen[path] = (found.st_mtime_ns, found.st_size)
        return seen


def source_folder(model: ModelSpec) -> Path:
    """The folder of the predictor's file. Raises UsageError where it has none that can be known."""
    where, _, _ = model.name.rpartition(":")
    path = Path(where).expanduser() if where.endswith(".py") else Path(where.replace(".", "/") + ".py")
    if model.pickled is None and where and path.is_file():
        return path.absolute().parent
    raise UsageError(
        "reload: it needs a predictor in a file: path/to/file.py:Class, or module.path:Class in the working folder"
    )
