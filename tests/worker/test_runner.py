"""One rank's runs, one after the other, in this process: what each is told to have come to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from para_attn_server.core.board import Phase, StepBoard
from para_attn_server.core.messages import Canceled, Failed, Finished, FromRank, Run
from para_attn_server.core.predictor import Predictor
from para_attn_server.core.schema import arguments_model
from para_attn_server.worker.runner import JobRunner
from para_attn_server.worker.step_control import JobCanceled, StepControl


def known(style: str) -> str:
    """Raises KeyError, which pydantic passes on."""
    return {"oil": style, "careless": style}[style]


class Styled(Predictor):
    """Three steps; the careless one replaces the exception by which it is to leave."""

    def predict(self, style: Annotated[str, AfterValidator(known)], output_path: str) -> None:
        for step in range(1, 4):
            try:
                self.step(step, 3)
            except JobCanceled:
                if style == "careless":
                    raise ValueError("the scratch file is still open") from None
                raise
        Path(output_path).write_text(style)


class Rank:
    """The only rank of a group. canceled: the serial of a run that is to be left, once it has been entered."""

    def __init__(self, folder: Path) -> None:
        self.board, self.sent, self.cancel, self.looks = StepBoard.create(1), list[FromRank](), 0, 0
        predictor, self._folder = Styled(), folder
        control = StepControl(self.board, 0, self, self.sent.append)
        predictor._reporter = control
        self._runner = JobRunner(predictor, arguments_model(predictor.predict), control, 0, self.sent.append)

    def canceled(self, serial: int) -> bool:
        """The orders that step control reads."""
        self.looks += 1
        return serial == self.cancel and self.looks > 1

    def run(self, serial: int, style: str) -> Any:
        """What the rank told last."""
        self.looks = 0
        self._runner.run(Run(f"job{serial}", serial, {"style": style}, str(self._folder / f"{serial}.txt")))
        assert self.board.progress(0).phase is Phase.LEFT
        assert self.board.progress(0).serial == serial
        return self.sent[-1]


@pytest.fixture
def rank(tmp_path: Path) -> Iterator[Rank]:
    """A fresh one."""
    fresh = Rank(tmp_path)
    yield fresh
    fresh.board.close()


def test_a_validator_that_raises_fails_the_run_whatever_became_of_the_one_before(rank: Rank) -> None:
    rank.cancel = 2
    assert isinstance(rank.run(1, "oil"), Finished)
    assert rank.run(2, "oil") == Canceled(2, 0, 1)
    for serial in (3, 4):
        failed = rank.run(serial, "unknown")
        assert isinstance(failed, Failed)
        assert (failed.serial, failed.points, failed.error.type) == (serial, 0, "KeyError")
    assert isinstance(rank.run(5, "oil"), Finished)


def test_arguments_that_are_refused_are_named_also_after_a_cancel(rank: Rank) -> None:
    rank.cancel = 1
    assert isinstance(rank.run(1, "oil"), Canceled)
    failed = rank.run(2, 3)  # type: ignore[arg-type]
    assert failed.error.type == "invalid_input"
    assert "style" in failed.error.message


def test_what_a_predictor_raises_on_its_way_out_of_a_canceled_run_is_no_failure(rank: Rank) -> None:
    rank.cancel = 1
    assert isinstance(rank.run(1, "careless"), Canceled)
