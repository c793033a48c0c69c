"""Hooks step control into a diffusers pipeline, without changing what the pipeline computes.

The pipeline's own `callback_on_step_end` is used where its call has one (composed with the user's callback, which
runs first); any other pipeline is hooked at `step` of its scheduler instance.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

from para_attn_server.core.errors import SetupFailed

Report = Callable[[int, int | None], None]
_CALLBACK, _TENSORS = "callback_on_step_end", "callback_on_step_end_tensor_inputs"


def hook_steps(pipe: Any, report: Report) -> None:
    """Have `report(steps done, total)` called at the end of every denoising step of `pipe`; it may raise.

    Raises SetupFailed where the pipeline offers no place to hook.
    """
    if _CALLBACK in inspect.signature(type(pipe).__call__).parameters:
        _hook_call(pipe, report)
    elif callable(getattr(getattr(pipe, "scheduler", None), "step", None)):
        _hook_scheduler(pipe, report)
    else:
        raise SetupFailed(
            f"{type(pipe).__name__} has neither a {_CALLBACK} argument nor a scheduler: its steps cannot be seen. "
            "Set self.pipe to None and call self.step(i, total) in predict() at every step instead"
        )


def _hook_call(pipe: Any, report: Report) -> None:
    """Calls look `__call__` up on the class: give this instance a class of its own, alike but for that."""
    original = type(pipe)

    @functools.wraps(original.__call__)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        users = kwargs.get(_CALLBACK)
        if users is not None and hasattr(users, "tensor_inputs"):
            kwargs[_TENSORS] = users.tensor_inputs  # the pipeline asks the callback's own class for them otherwise
        kwargs[_CALLBACK] = _composed(users, report)
        return original.__call__(self, *args, **kwargs)

    pipe.__class__ = type(
        original.__name__,
        (original,),
        {"__call__": __call__, "__module__": original.__module__, "__qualname__": original.__qualname__},
    )


def _composed(users: Callable[..., Any] | None, report: Report) -> Callable[..., Any]:
    def on_step_end(pipe: Any, index: int, timestep: Any, callback_kwargs: dict[str, Any]) -> dict[str, Any]:
        outputs = callback_kwargs if users is None else users(pipe, index, timestep, callback_kwargs)
        report(index + 1, getattr(pipe, "num_timesteps", None))
        return outputs

    return on_step_end


def _hook_scheduler(pipe: Any, report: Report) -> None:
    scheduler = copy.deepcopy(pipe.scheduler)  # the instance may be shared with a pipeline that is not served
    original_step, original_set = scheduler.step, scheduler.set_timesteps
    done = 0

    def set_timesteps(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        done = 0
        return original_set(*args, **kwargs)

    def step(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        output = original_step(*args, **kwargs)
        done += 1
        report(done, len(scheduler.timesteps))
        return output

    scheduler.step = functools.wraps(original_step)(step)
    scheduler.set_timesteps = functools.wraps(original_set)(set_timesteps)
    pipe.scheduler = scheduler
