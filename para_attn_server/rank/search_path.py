"""Where a predictor's own folders are on the search path: behind the standard library, before installed packages.

In front of the standard library, as `python script.py` has it, a file queue.py that lies there by chance would break
what torch or this project imports later. Before installed packages a predictor's `utils.py` is still the one that its
imports mean.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path


def add_folders(folders: Iterable[str]) -> None:
    """Put those that are not on sys.path yet behind the standard library, in their order."""
    new = [folder for folder in dict.fromkeys(folders) if folder not in sys.path]
    after = 1 + max((index for index, entry in enumerate(sys.path) if _is_standard(entry)), default=len(sys.path) - 1)
    sys.path[after:after] = new


def module_name(file: Path) -> str:
    """The name to import a predictor's file under: its own, unless a module of the standard library has that name, or
    one that is imported already."""
    name = file.stem
    loaded = getattr(sys.modules.get(name), "__file__", None)
    taken = name in sys.stdlib_module_names or (name in sys.modules and loaded != str(file))
    return f"predictor_{name}" if taken else name


def _is_standard(entry: str) -> bool:
    return entry == os.path.dirname(os.__file__) or os.path.basename(entry) == "lib-dynload"  # noqa: PTH119, PTH120
