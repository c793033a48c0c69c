"""What a controller and its agent say to each other: one plain dataclass per message, as JSON with its type in it.

Never pickle: who can send such frames must not be able to run code in the process that reads them. What the messages of
ranks hold is read by the types of their fields, so the two ends need the same version of this package.

A rank is named by its group and by the generation of the launch, so that a late message is known and dropped.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from para_attn_server.core.wire.launch import GroupSpec
from para_attn_server.core.wire.ranks import FromRank, ToRank
from para_attn_server.core.wire.step_board import Phase
from para_attn_server.executors.base import ExecutorOptions, ExitInfo

# --- controller to agent --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """The first message: what the server needs."""

    options: ExecutorOptions


@dataclass(frozen=True, slots=True)
class Launch:
    """Start the ranks of a group."""

    generation: int
    spec: GroupSpec


@dataclass(frozen=True, slots=True)
class AbortLaunch:
    """Have the launches end that are under way."""


@dataclass(frozen=True, slots=True)
class Tell:
    """To a rank."""

    group: int
    generation: int
    rank: int
    message: ToRank


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to a rank and its helpers."""

    group: int
    generation: int
    rank: int


@dataclass(frozen=True, slots=True)
class RequestStacks:
    """Have a rank print its stacks; what is known of it is reported often for a moment."""

    group: int
    generation: int
    rank: int


# --- agent to controller --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """The agent works for this controller. ranks: of each group."""

    ranks: list[int]


@dataclass(frozen=True, slots=True)
class Refused:
    """It does not. usage: nor will it with these options."""

    reason: str
    usage: bool


@dataclass(frozen=True, slots=True)
class Launched:
    """A group's ranks have been started; pids by rank."""

    group: int
    generation: int
    pids: list[int | None]


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """As RankEvents.launch_failed."""

    group: int
    generation: int
    reason: str
    own_fault: bool
    from_outside: bool


@dataclass(frozen=True, slots=True)
class Said:
    """A rank has said something."""

    group: int
    generation: int
    rank: int
    message: FromRank


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a rank has written to the step board, sent where it has changed. heartbeat_age, logged_age: seconds since
    then, None where there is no new one; the machines' clocks differ."""

    group: int
    generation: int
    rank: int
    serial: int
    points: int
    phase: Phase
    step: int
    total: int | None
    heartbeat_age: float | None
    logged_age: float | None


@dataclass(frozen=True, slots=True)
class RankState:
    """What is known of a rank's process, sent where it has changed."""

    group: int
    generation: int
    rank: int
    stopped: bool
    stacks: str


@dataclass(frozen=True, slots=True)
class Died:
    """A rank has ended."""

    group: int
    generation: int
    rank: int
    death: ExitInfo


# --- both ways ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alive:
    """The loop goes round: said every second."""


ToAgent = Open | Launch | AbortLaunch | Tell | Kill | RequestStacks | Alive
OfLaunch = Launched | LaunchFailed | Said | StepReport | RankState | Died
FromAgent = Opened | Refused | OfLaunch | Alive


_CLASS = "class"
"""The member that names a message's class; no field can have that name, as one has `type` (JobError)."""


def encode(message: ToAgent | FromAgent) -> bytes:
    """One message, without its frame."""
    return json.dumps(_plain(message)).encode()


def decode(payload: bytes) -> ToAgent | FromAgent:
    """The message; raises ValueError if it is none."""
    try:
        message: ToAgent | FromAgent = _reader(ToAgent | FromAgent)(json.loads(payload))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"malformed message: {error!r}") from error
    return message


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {_CLASS: type(value).__name__} | {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value  # a dict is a request's or a schema: JSON already


@functools.cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """What makes a value of that type out of JSON's."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    classes = {each.__name__: each for each in members if isinstance(each, type) and is_dataclass(each)}
    if classes:
        return lambda value: None if value is None and type(None) in members else _read(classes, value)
    if bytes in members:
        return lambda value: None if value is None else base64.b64decode(value, validate=True)
    if get_origin(hint) in (list, tuple):
        make, item = get_origin(hint), _reader(get_args(hint)[0])
        return lambda value: make(map(item, value))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return lambda value: value


def _read(classes: dict[str, Any], value: dict[str, Any]) -> Any:
    cls = classes[value.pop(_CLASS)]
    hints = _hints(cls)
    return cls(**{name: _reader(hints[name])(each) for name, each in value.items()})


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)
