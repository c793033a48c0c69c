"""Acts on modules as soon as they are imported, by whomever; does not import them itself."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Act = Callable[[ModuleType], None]


def when_imported(name: str, act: Act) -> None:
    """Have `act(module)` called right after the module of that name has been executed; now, where it has been."""
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        act(module)
        return
    _FINDER.acts.setdefault(name, []).append(act)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


class _Finder:
    """Finds nothing by itself: asks the other finders, and extends the loader of what was waited for."""

    def __init__(self) -> None:
        self.acts: dict[str, list[Act]] = {}
        self._searching: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder` has it."""
        if name not in self.acts or name in self._searching:
            return None
        self._searching.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._searching.discard(name)
        if spec is not None and spec.loader is not None:
            self._extend(spec.loader, name)
        return spec

    def _extend(self, loader: Any, name: str) -> None:
        original = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            original(module)
            if module.__name__ == name:  # a loader may be shared by modules
                for act in self.acts.pop(name, []):
                    act(module)

        loader.exec_module = exec_module


_FINDER = _Finder()
