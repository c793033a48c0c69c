"""Follows every diffusers pipeline that is called while a job runs, without changing what it computes.

For the time of a run `__call__` of all pipeline classes and `step` of all scheduler classes are wrapped; outside a run
the classes are as diffusers left them. So it does not matter whose attribute a pipeline is, when it was made, which
scheduler it holds, or whether it copies that.

A call whose pipeline takes `callback_on_step_end` reports through that (composed with the user's callback, which runs
first); any other one through the schedulers that are stepped in it. The outermost call that can count gives the
numbers; a pipeline called within it adds control points only. Calls that follow each other are counted on.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

from para_attn_server.core.errors import SetupFailed
from para_attn_server.rank.class_hooks import ClassHooks
from para_attn_server.rank.imports import when_imported

Report = Callable[[int, int | None], None]
_CALLBACK, _TENSORS = "callback_on_step_end", "callback_on_step_end_tensor_inputs"
_PIPELINES = {
    "diffusers.pipelines.pipeline_utils": "DiffusionPipeline",
    "diffusers.modular_pipelines.modular_pipeline": "ModularPipeline",
}
_SCHEDULERS = {"diffusers.schedulers.scheduling_utils": "SchedulerMixin"}


def check_steps(pipe: Any) -> None:
    """Raises SetupFailed where calls of `pipe` offer no place to see their steps."""
    if _CALLBACK not in _parameters(type(pipe).__call__) and not _schedulers(pipe):
        raise SetupFailed(
            f"{type(pipe).__name__} has neither a {_CALLBACK} argument nor a scheduler: its steps cannot be seen. "
            "Set self.pipe to None: diffusers pipelines that predict() calls are followed all the same. In a loop of "
            "your own call self.step(i, total) at every step"
        )


class StepHooks:
    """What one run sees of pipelines.

    report: called with (steps done, total) at the end of every denoising step; it may raise.
    follows: whether the calling thread is to be followed.
    """

    def __init__(self, report: Report, follows: Callable[[], bool] = lambda: True) -> None:
        self._report, self._follows = report, follows
        self._active = False
        self._done = 0  # steps of the outermost calls that have ended
        self._shown: tuple[int, int | None] = (0, None)
        self._calls = threading.local()
        self._called: dict[int, Callable[[], Any]] = {}
        self._pipelines = ClassHooks("__call__", self._wrap_call)
        self._schedulers = ClassHooks("step", self._wrap_step)

    @contextlib.contextmanager
    def installed(self, pipe: Any) -> Iterator[None]:
        """Follow pipelines meanwhile; `pipe` too, where it is none of diffusers' own."""
        self._active = True
        _running.append(self)
        try:
            for base, schedulers in _bases.items():
                self.follow(base, schedulers)
            if pipe is not None:
                self._pipelines.add(type(pipe), inherited=not isinstance(pipe, tuple(_bases)))
            yield
        finally:
            self._active = False
            _running.remove(self)
            self._pipelines.undo()
            self._schedulers.undo()

    def follow(self, base: type, schedulers: bool) -> None:
        """Follow the subclasses of a base class of diffusers."""
        (self._schedulers if schedulers else self._pipelines).add_tree(base)

    def called(self) -> list[Any]:
        """The pipelines that were called and are still there."""
        return [pipe for reference in self._called.values() if (pipe := reference()) is not None]

    def seen(self, call: _Call, steps: int, total: int | None) -> None:
        """`steps` of `total` are done in that call."""
        if call.counts:
            call.steps = steps
            self._shown = self._done + steps, None if total is None else self._done + total
        self._report(*self._shown)

    def _wrap_call(self, original: Any) -> Any:
        hooks = self

        @functools.wraps(original)
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            call = hooks._call(original, self, kwargs)
            if call is None:
                return original(self, *args, **kwargs)
            with hooks._within(call):
                if not call.by_scheduler:
                    args = _with_callback(original, args, kwargs, call)
                return original(self, *args, **kwargs)

        return __call__

    def _wrap_step(self, original: Any) -> Any:
        hooks = self

        @functools.wraps(original)
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            stack = hooks._stack()
            call = stack[-1] if stack and hooks._active else None
            if call is None or not call.by_scheduler or call.stepping:
                return original(self, *args, **kwargs)
            call.stepping = True  # a step that is made of its parent class's is one step
            try:
                output = original(self, *args, **kwargs)
            finally:
                call.stepping = False
            call.scheduler_stepped(self)
            return output

        return step

    def _call(self, original: Any, pipe: Any, kwargs: dict[str, Any]) -> _Call | None:
        """The call as it is to be followed; None where its steps are seen elsewhere, or nowhere."""
        if not self._active or not self._follows():
            return None
        with contextlib.suppress(TypeError):  # no weak references to it; a strong one would keep a model in memory
            self._called[id(pipe)] = weakref.ref(pipe)
        stack = self._stack()
        if stack and stack[-1].by_scheduler:
            return None
        if _CALLBACK in _parameters(original):
            return None if isinstance(kwargs.get(_CALLBACK), _OnStepEnd) else _Call(self, False, not stack)
        schedulers = _schedulers(pipe)
        for cls in {cls for scheduler in schedulers for cls in type(scheduler).__mro__}:
            self._schedulers.add(cls)  # those that are none of diffusers' own
        return _Call(self, True, not stack) if schedulers else None

    @contextlib.contextmanager
    def _within(self, call: _Call) -> Iterator[None]:
        stack = self._stack()
        stack.append(call)
        try:
            yield
        finally:
            stack.pop()
            self._done += call.steps

    def _stack(self) -> list[_Call]:
        try:
            return self._calls.stack
        except AttributeError:
            stack: list[_Call] = []
            self._calls.stack = stack
            return stack


class _Call:
    """A call of a pipeline that is followed. counts: its steps are the ones that are shown."""

    def __init__(self, hooks: StepHooks, by_scheduler: bool, counts: bool) -> None:
        self._hooks, self.by_scheduler, self.counts = hooks, by_scheduler, counts
        self.steps = 0
        self.stepping = False
        self._last, self._before = 0, 0
        self._stepped: dict[int, _Stepped] = {}

    def callback_ran(self, steps: int, total: int | None) -> None:
        """A pipeline that begins to count anew (frames drawn in pieces, say) is counted on."""
        if steps <= self._last:
            self._before += self._last
        self._last = steps
        self._hooks.seen(self, self._before + steps, None if total is None else self._before + total)

    def scheduler_stepped(self, scheduler: Any) -> None:
        """Several schedulers that take turns (a picture's and a copy for its sound) make one count: the highest."""
        self._stepped.setdefault(id(scheduler), _Stepped(scheduler)).count()
        most = max(self._stepped.values(), key=lambda stepped: stepped.steps)
        self._hooks.seen(self, most.steps, most.total)


class _Stepped:
    """A scheduler that is stepped in a call; held, so that no other one gets its id."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler, self._timesteps = scheduler, None
        self._before = self.steps = 0
        self.total: int | None = None

    def count(self) -> None:
        """One step more; timesteps that were set anew are counted on."""
        timesteps = getattr(self._scheduler, "timesteps", None)
        if timesteps is not self._timesteps:
            self._timesteps, self._before = timesteps, self.steps
            self.total = None if timesteps is None else self._before + len(timesteps)
        self.steps += 1


class _OnStepEnd:
    """The callback of a call, with the user's own before it."""

    def __init__(self, users: Callable[..., Any] | None, call: _Call) -> None:
        self._users, self._call = users, call

    def __call__(self, pipe: Any, index: int, timestep: Any, callback_kwargs: dict[str, Any]) -> Any:
        outputs = callback_kwargs if self._users is None else self._users(pipe, index, timestep, callback_kwargs)
        self._call.callback_ran(index + 1, getattr(pipe, "num_timesteps", None))
        return outputs


def _with_callback(original: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: _Call) -> tuple[Any, ...]:
    """Put the call's callback into `kwargs`, or into the positional arguments that are returned."""
    names = [*_parameters(original)][1:]
    place = names.index(_CALLBACK)
    if len(args) > place:
        return (*args[:place], _OnStepEnd(args[place], call), *args[place + 1 :])
    users = kwargs.get(_CALLBACK)
    if users is not None and hasattr(users, "tensor_inputs"):
        kwargs[_TENSORS] = users.tensor_inputs  # the pipeline asks the callback's own class for them otherwise
    elif users is None and _TENSORS in names[len(args) :]:
        kwargs[_TENSORS] = []  # nobody reads them
    kwargs[_CALLBACK] = _OnStepEnd(users, call)
    return args


@functools.lru_cache(maxsize=64)
def _parameters(function: Any) -> Any:
    return inspect.signature(function).parameters


def _schedulers(pipe: Any) -> list[Any]:
    """What the pipeline holds that is stepped as a scheduler is."""
    held = [value for value in getattr(pipe, "__dict__", {}).values() if hasattr(value, "set_timesteps")]
    return [one for one in (getattr(pipe, "scheduler", None), *held) if callable(getattr(type(one), "step", None))]


def _found(name: str, schedulers: bool, module: ModuleType) -> None:
    base = getattr(module, name)
    _bases[base] = schedulers
    for hooks in _running:
        hooks.follow(base, schedulers)


_bases: dict[type, bool] = {}
_running: list[StepHooks] = []
for _modules, _of_schedulers in ((_PIPELINES, False), (_SCHEDULERS, True)):
    for _module, _name in _modules.items():
        when_imported(_module, partial(_found, _name, _of_schedulers))
