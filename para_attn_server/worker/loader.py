"""From a ModelSpec to a predictor that is set up, with the contract checked. Runs in ranks only."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import torch.distributed as dist

from para_attn_server.core.errors import SetupFailed, UsageError
from para_attn_server.core.launch import ModelSpec
from para_attn_server.core.lookup import entry_point, source_file
from para_attn_server.worker.search_path import add_folders, module_name


def load_predictor(spec: ModelSpec) -> Any:
    """The predictor instance, not yet set up; raises UsageError where the name leads nowhere."""
    add_folders(spec.search_path)
    found: Any = cloudpickle.loads(spec.pickled) if spec.pickled is not None else load_class(spec.name)
    if not isinstance(found, type):
        return found
    if spec.model_path is None:
        return found()
    if "model_path" not in inspect.signature(found).parameters:
        raise UsageError(f"--model-path: {found.__name__} takes no argument named model_path")
    return partial(found, model_path=spec.model_path)()


def load_class(name: str) -> Any:
    """The class that `module.path:Class`, `path/to/file.py:Class` or a short name stands for."""
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
        raise UsageError(f"--model {name}: there is no module {error.name!r} on the search path") from None


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


def check_contract(predictor: Any, num_ranks: int) -> None:
    """Raises SetupFailed naming the rule that a predictor breaks; called after its setup()."""
    kind = type(predictor).__name__
    if not hasattr(predictor, "pipe"):
        raise SetupFailed(
            f"{kind} has no attribute `pipe` after setup(): set self.pipe to the diffusers pipeline, "
            "or to None if predict() reports its steps through self.step(i, total)"
        )
    if not dist.is_initialized():
        if num_ranks == 1:
            return  # one rank is a world of its own
        raise SetupFailed(
            f"{kind}.setup() did not call torch.distributed.init_process_group(): each of the {num_ranks} ranks must"
        )
    if dist.get_world_size() != num_ranks:
        raise SetupFailed(
            f"{kind}.setup() made a process group of {dist.get_world_size()} ranks, but the worker group has "
            f"{num_ranks}: call init_process_group() without world_size and rank, they come from the environment"
        )


def check_methods(predictor: Any) -> None:
    """Raises SetupFailed unless there are setup() and predict(); called before setup()."""
    for method in ("setup", "predict"):
        if not callable(getattr(predictor, method, None)):
            raise SetupFailed(f"{type(predictor).__name__} has no method {method}(): a predictor must have one")
