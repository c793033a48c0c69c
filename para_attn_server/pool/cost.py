"""How long a job will take, learned from those that have succeeded: seconds by model, shape and number of ranks.

A shape is what the time depends on (core/arguments/shape.py). The estimate is the median of the last runs of that
shape. For a shape that has not run yet, the nearest one that has is scaled by steps and pixels; failing that it is the
mean over the model's shapes. An `Estimate` says which of them it is. No I/O: the pool keeps what `document` returns.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median
from typing import Any

from para_attn_server.core.arguments.shape import work

RUNS = 9
"""Runs of a shape that are remembered."""
SHAPES = 200
"""Shapes that are remembered, the last used ones."""
ERRORS = 100
"""Estimates of which the error is remembered."""

Key = tuple[str, str, int]


class Basis(StrEnum):
    """What an estimate rests on."""

    SHAPE = "shape"
    SCALED = "scaled"
    MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a run takes, from its start to its end."""

    seconds: float
    basis: Basis


class CostModel:
    """Learns from runs. known: what an earlier `document` returned; what cannot be read in it is left out."""

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        self._runs: OrderedDict[Key, deque[float]] = OrderedDict()
        self._errors: deque[float] = deque(maxlen=ERRORS)
        self._estimates: dict[Key, Estimate | None] = {}
        for model, shape, ranks, seconds in _entries(known or {}):
            self._runs[model, shape, ranks] = deque(seconds, maxlen=RUNS)

    def learn(self, model: str, shape: str, ranks: int, seconds: float) -> None:
        """A job of that shape has succeeded on so many ranks in so many seconds."""
        key = (model, shape, ranks)
        if key in self._runs and seconds > 0:
            self._errors.append(abs(median(self._runs[key]) - seconds) / seconds)
        self._runs.setdefault(key, deque(maxlen=RUNS)).append(seconds)
        self._runs.move_to_end(key)
        if len(self._runs) > SHAPES:
            self._runs.popitem(last=False)
        self._estimates.clear()

    def estimate(self, model: str, shape: str, ranks: int) -> Estimate | None:
        """How long a job of that shape will take; None before the first success."""
        key = (model, shape, ranks)
        if key not in self._estimates:
            if len(self._estimates) > SHAPES:
                self._estimates.clear()
            self._estimates[key] = self._estimated(key)
        return self._estimates[key]

    def _estimated(self, key: Key) -> Estimate | None:
        if key in self._runs:
            return Estimate(median(self._runs[key]), Basis.SHAPE)
        model, shape, ranks = key
        of_model = {each: median(runs) for each, runs in self._runs.items() if each[0] == model}
        like = {each[1]: seconds for each, seconds in of_model.items() if each[2] == ranks}
        if (scaled := _scaled(shape, like)) is not None:
            return Estimate(scaled, Basis.SCALED)
        known = list((like or of_model).values())
        return Estimate(fmean(known), Basis.MEAN) if known else None

    @property
    def error(self) -> float | None:
        """Median relative error of the last estimates for shapes that had run before; None before the first."""
        return median(self._errors) if self._errors else None

    @property
    def shapes(self) -> int:
        """How many shapes are known."""
        return len(self._runs)

    def document(self) -> dict[str, Any]:
        """What has been learned, as JSON."""
        return {"runs": [[*key, [round(seconds, 6) for seconds in runs]] for key, runs in self._runs.items()]}


def _scaled(shape: str, like: Mapping[str, float]) -> float | None:
    """From the known shape whose work is nearest to that of this one."""
    todo = work(shape)
    if todo is None:
        return None
    ratios = [(todo / done, seconds) for known, seconds in like.items() if (done := work(known)) is not None]
    if not ratios:
        return None
    ratio, seconds = min(ratios, key=lambda each: abs(math.log(each[0])))
    return ratio * seconds


def _entries(known: Mapping[str, Any]) -> Iterable[tuple[str, str, int, list[float]]]:
    for entry in known.get("runs", ()):
        match entry:
            case [str(model), str(shape), int(ranks), [*seconds]] if seconds and all(map(_is_number, seconds)):
                yield model, shape, ranks, seconds


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
