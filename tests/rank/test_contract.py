"""What breaks the contract of a predictor is refused at start, naming the rule; what only looks odd works."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from para_attn_server.core.errors import SetupFailed
from para_attn_server.core.predictor import Predictor
from para_attn_server.rank.predictor_checks import check_after_setup, check_before_setup


class Right(Predictor):
    """Nothing wrong."""

    pipe = None

    def predict(self, prompt: str, output_path: str) -> None: ...


class Coroutine(Right):
    async def predict(self, prompt: str, output_path: str) -> None: ...  # type: ignore[override]


class Generator(Right):
    def predict(self, prompt: str, output_path: str) -> Iterator[str]:  # type: ignore[override]
        yield output_path


class AsyncGenerator(Right):
    async def predict(self, prompt: str, output_path: str) -> AsyncIterator[str]:  # type: ignore[override]
        yield output_path


class GeneratorWithoutGrad(Right):
    @torch.no_grad()
    def predict(self, prompt: str, output_path: str) -> Iterator[str]:  # type: ignore[override]
        yield output_path


class Called:
    async def __call__(self, prompt: str, output_path: str) -> None: ...


class CalledObject(Right):
    predict = Called()  # type: ignore[assignment]


class PartOfCoroutine(Right):
    predict = functools.partial(Coroutine.predict, None)  # type: ignore[assignment, arg-type]


class AsyncSetup(Right):
    async def setup(self) -> None: ...  # type: ignore[override]


class AsyncLimits(Right):
    async def limits(self) -> Any: ...  # type: ignore[override]


class SetupTakesWeights(Right):
    def setup(self, weights: str) -> None: ...  # type: ignore[override]


class NoDot(Right):
    output_suffix = "png"


class NoText(Right):
    output_suffix = None  # type: ignore[assignment]


class IntoAFolder(Right):
    output_suffix = "./a"


class OwnLog(Right):
    log = logging.getLogger("mine")  # type: ignore[assignment]


class OwnStep(Right):
    step = 3  # type: ignore[assignment]


class OwnLimits(Right):
    limits = {"width": {"maximum": 3}}  # type: ignore[assignment]  # noqa: RUF012


class TakesAPath(Right):
    def predict(self, image: Path, output_path: str) -> None: ...  # type: ignore[override]


class PipeInSetup(Right):
    """Replaces what the base class has, but only in setup()."""

    def setup(self) -> None:
        self.log = print  # type: ignore[method-assign, assignment]
        self.step = None  # type: ignore[method-assign, assignment]


class LimitsOfNothing(Right):
    def limits(self) -> Any:
        return None


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Coroutine, r"Coroutine.predict\(\) makes a coroutine, which the server does not run: write it as a plain"),
        (Generator, r"predict\(\) makes a generator"),
        (AsyncGenerator, r"predict\(\) makes an asynchronous generator"),
        (GeneratorWithoutGrad, r"predict\(\) makes a generator"),
        (CalledObject, r"predict\(\) makes a coroutine"),
        (PartOfCoroutine, r"predict\(\) makes a coroutine"),
        (AsyncSetup, r"AsyncSetup.setup\(\) makes a coroutine"),
        (AsyncLimits, r"limits\(\) makes a coroutine"),
        (SetupTakesWeights, r"setup\(\) must take no arguments besides self: missing a required argument: 'weights'"),
        (NoDot, "NoDot.output_suffix must be a file suffix with its dot, such as .png, not 'png'"),
        (NoText, "output_suffix must be"),
        (IntoAFolder, "output_suffix must be"),
        (
            OwnLog,
            r"OwnLog.log is Logger, but log\(\) is a method of the base class Predictor: give",
        ),
        (OwnStep, r"OwnStep.step is int, but step\(\)"),
        (OwnLimits, r"OwnLimits.limits is dict, but limits\(\)"),
        (TakesAPath, "predict's argument 'image' cannot come from a request: .*output_path is the only path"),
    ],
)
def test_what_is_written_wrong_is_refused_before_the_model_is_loaded(kind: type[Predictor], says: str) -> None:
    with pytest.raises(SetupFailed, match=says):
        check_before_setup(kind())


def test_what_setup_has_broken_is_refused_after_it() -> None:
    predictor = PipeInSetup()
    check_before_setup(predictor)
    predictor.setup()
    with pytest.raises(SetupFailed, match=r"PipeInSetup\.step is NoneType"):
        check_after_setup(predictor, 1)
    with pytest.raises(SetupFailed, match=r"limits\(\) must return a dict of dicts"):
        check_after_setup(LimitsOfNothing(), 1)


def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a coroutine to its end, as decorators of asyncio's libraries do."""

    @functools.wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        with pytest.raises(StopIteration):
            method(*args, **kwargs).send(None)

    return run


class Wrapped(Right):
    """Its predict is a plain function, though a coroutine is inside."""

    @wrapped
    async def predict(self, prompt: str, output_path: str) -> None: ...


class WithoutGrad(Right):
    @torch.no_grad()
    def predict(self, prompt: str, output_path: str) -> None: ...


class Plain:
    """No base class: `step` and `log` are its own."""

    pipe, step, log = None, 3, logging.getLogger("mine")

    def setup(self) -> None: ...

    @staticmethod
    def predict(prompt: str, output_path: str) -> None: ...


@pytest.mark.parametrize("kind", [Right, Wrapped, WithoutGrad, Plain])
def test_what_only_looks_odd_is_served(kind: type) -> None:
    predictor = kind()
    check_before_setup(predictor)
    assert list(check_after_setup(predictor, 1).model_fields) == ["prompt_"]
