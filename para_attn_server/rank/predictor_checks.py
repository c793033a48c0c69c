"""The contract of a predictor, checked at start: what breaks it is SetupFailed, which names the rule.

Before setup() what needs no weights, after it the rest. What predict takes is core/arguments/'s matter.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from pydantic import BaseModel

from para_attn_server.core.arguments.model import arguments_model
from para_attn_server.core.errors import SetupFailed
from para_attn_server.core.predictor import Predictor, output_suffix
from para_attn_server.rank.teardown import has_teardown

_SUFFIX = re.compile(r"\.[^/\s\x00-\x1f\x7f]+")


def check_before_setup(predictor: Any) -> None:
    """Raises SetupFailed naming the rule that a predictor breaks as it is written."""
    kind = type(predictor).__name__
    for name in ("setup", "predict"):
        if not callable(getattr(predictor, name, None)):
            raise SetupFailed(f"{kind} has no method {name}(): a predictor must have one")
        check_plain(kind, name, getattr(predictor, name))
    _check_takes_nothing(kind, "setup", predictor.setup)
    if has_teardown(predictor):
        check_plain(kind, "teardown", predictor.teardown)
        _check_takes_nothing(kind, "teardown", predictor.teardown)
    _check_own(predictor)
    arguments_model(predictor.predict)


def check_plain(kind: str, name: str, method: Any) -> None:
    """Raises SetupFailed where a call would only make a coroutine or a generator, and run nothing of its body."""
    functions = (method, getattr(method, "__call__", None))  # noqa: B004 - an object with such a method, too
    for makes, of in (
        (inspect.iscoroutinefunction, "a coroutine"),
        (inspect.isasyncgenfunction, "an asynchronous generator"),
        (inspect.isgeneratorfunction, "a generator"),
    ):
        if any(map(makes, functions)):
            raise SetupFailed(
                f"{kind}.{name}() makes {of}, which the server does not run: write it as a plain function, with `def` "
                "and without `yield`"
            )


def check_after_setup(predictor: Any, num_ranks: int) -> type[BaseModel]:
    """The model of predict's arguments; raises SetupFailed naming the rule that a predictor breaks after setup()."""
    kind = type(predictor).__name__
    if not hasattr(predictor, "pipe"):
        raise SetupFailed(
            f"{kind} has no attribute `pipe` after setup(): set self.pipe to the diffusers pipeline, "
            "or to None if predict() reports its steps through self.step(i, total)"
        )
    _check_own(predictor)
    _check_process_group(kind, num_ranks)
    return arguments_model(predictor.predict, _limits(predictor))


def _limits(predictor: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(predictor, Predictor):
        return {}
    limits = predictor.limits()
    if limits is None:
        raise SetupFailed(f"{type(predictor).__name__}.limits() must return a dict of dicts, not None")
    return limits


def _check_takes_nothing(kind: str, name: str, method: Any) -> None:
    try:
        inspect.signature(method).bind()
    except TypeError as error:
        raise SetupFailed(f"{kind}.{name}() must take no arguments besides self: {error}") from None
    except ValueError:
        return  # one without a signature, in C: the call will show


def _check_own(predictor: Any) -> None:
    """What a predictor may replace of the base class's attributes, but not by just anything."""
    kind = type(predictor).__name__
    suffix = output_suffix(predictor)
    if not (isinstance(suffix, str) and _SUFFIX.fullmatch(suffix)):
        raise SetupFailed(f"{kind}.output_suffix must be a file suffix with its dot, such as .png, not {suffix!r}")
    if not isinstance(predictor, Predictor):
        return
    for name in ("limits", "step", "log"):
        method = getattr(predictor, name)
        if not callable(method):
            raise SetupFailed(
                f"{kind}.{name} is {type(method).__name__}, but {name}() is a method of the base class Predictor: give "
                "the attribute another name"
            )
        check_plain(kind, name, method)


def _check_process_group(kind: str, num_ranks: int) -> None:
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
