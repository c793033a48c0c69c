"""From a ModelSpec to a predictor that is not yet set up. Runs in ranks only."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from para_attn_server.core.errors import UsageError
from para_attn_server.core.lookup import check_model, entry_point, source_file
from para_attn_server.core.wire.launch import ModelSpec
from para_attn_server.rank.options import constructed
from para_attn_server.rank.search_path import add_folders, module_name


def load_predictor(spec: ModelSpec) -> Any:
    """The predictor instance, not yet set up; raises UsageError where the name leads nowhere."""
    add_folders(spec.search_path)
    found: Any = cloudpickle.loads(spec.pickled) if spec.pickled is not None else load_class(spec.name)
    if not isinstance(found, type):
        if spec.options:
            raise UsageError("--set: the predictor is an instance; give its options to its own constructor")
        return found
    if spec.model_path is None:
        return constructed(found, spec.options)
    if "model_path" not in inspect.signature(found).parameters:
        raise UsageError(f"--model-path: {found.__name__} takes no argument named model_path")
    if "model_path" in spec.options:
        raise UsageError("--set model_path: it is also given by --model-path; leave out one of them")
    return constructed(found, {"model_path": spec.model_path, **spec.options})


def load_class(name: str) -> Any:
    """The class that `module.path:Class`, `path/to/file.py:Class` or a short name stands for."""
    check_model(name)
    if ":" not in name:
        return entry_point(name).load()
    where, _, attribute = name.rpartition(":")
    module = _from_file(source_file(where)) if where.endswith(".py") else _import(where, name)
    try:
        return getattr(module, attribute)
    except AttributeError:
        own = [n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__]
        raise UsageError(f"--model: {where} has no {attribute!r}; its classes: {', '.join(own) or 'none'}") from None


def _import(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise  # the module is there; something that it imports is not
        raise UsageError(f"--model {name}: no module named {error.name!r} is on the search path") from None


def _from_file(path: Path) -> ModuleType:
    add_folders([str(path.parent)])
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--model: {path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
