"""One rank's runs, one after the other, in this process: what each is told to have come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch.distributed as dist
from diffusers import DiffusionPipeline
from PIL import Image
from pydantic import AfterValidator
from ranks import pretend_world
from waiting import wait_until

from para_attn_server.core import output
from para_attn_server.core.arguments.model import arguments_model
from para_attn_server.core.predictor import Predictor
from para_attn_server.core.wire.ranks import (
    Canceled,
    Failed,
    Finished,
    FromRank,
    Run,
    Started,
    Unwritten,
    Written,
)
from para_attn_server.core.wire.step_board import Phase, StepBoard
from para_attn_server.rank.runner import JobRunner
from para_attn_server.rank.step_control import RunCanceled, StepControl


def known(style: str) -> str:
    """Raises KeyError, which pydantic passes on."""
    return {name: name for name in ("oil", "careless", "several", "linked")}[style]


class Styled(Predictor):
    """Three steps; the careless one replaces the exception by which it is to leave."""

    def predict(self, style: Annotated[str, AfterValidator(known)], output_path: str) -> None:
        for step in range(1, 4):
            try:
                self.step(step, 3)
            except RunCanceled:
                if style == "careless":
                    raise ValueError("the scratch file is still open") from None
                raise
        names = {"several": ("-0", "-1"), "linked": ()}.get(style, ("",))
        for name in names:  # as a pipeline that draws a batch does
            Path(output_path).with_stem(Path(output_path).stem + name).write_text(style)
        if style == "linked":
            Path(output_path).symlink_to("/etc/passwd")


class Rank:
    """The only rank of a group. canceled: the serial of a run that is to be left, once it has been entered."""

    def __init__(self, folder: Path, kind: type[Predictor] = Styled, suffix: str = ".txt") -> None:
        self.board, self.sent, self.cancel, self.looks = StepBoard.create(1), list[FromRank](), 0, 0
        self.cancel_at = 1
        predictor = self.predictor = kind()  # type: Any
        self._folder = folder
        self.name: Callable[[int], Path] = lambda serial: folder / f"{serial}{suffix}"
        control = StepControl(self.board, 0, self, self.sent.append)
        predictor._reporter = control
        self.runner = JobRunner(predictor, arguments_model(predictor.predict), control, 0, self.sent.append)

    def canceled(self, serial: int) -> bool:
        """The orders that step control reads."""
        self.looks += 1
        return serial == self.cancel and self.looks > self.cancel_at

    def run(self, serial: int, style: str) -> Any:
        """What the rank told last."""
        self.looks = 0
        self.runner.run(Run(f"{serial:032x}", serial, {"style": style}, str(self.name(serial))))
        assert self.board.progress(0).phase is Phase.LEFT
        assert self.board.progress(0).serial == serial
        return self.sent[-1]

    def write(self, serial: int, style: str) -> Any:
        """What became of what it held."""
        self.run(serial, style)
        assert self.finished(serial).held is not None
        return self.wait_written(serial)

    def finished(self, serial: int) -> Finished:
        """What the rank said first when it had left the run."""
        return next(each for each in self.sent if isinstance(each, Finished) and each.serial == serial)

    def wait_written(self, serial: int) -> Any:
        """Written or Unwritten."""

        def found() -> list[FromRank]:
            return [each for each in self.sent if isinstance(each, Written | Unwritten) and each.serial == serial]

        return wait_until(found, 10, "the writing to end")[0]

    def left(self) -> list[str]:
        """What is in the output folder, and below."""
        return sorted(str(path.relative_to(self._folder)) for path in self._folder.rglob("*"))


@pytest.fixture
def rank(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rank]:
    """A fresh one; its predictor may be given as the parameter."""
    fresh = Rank(tmp_path, getattr(request, "param", Styled))
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


def test_a_finished_run_leaves_its_output_where_the_controller_finds_it(rank: Rank) -> None:
    finished = rank.run(1, "oil")
    assert isinstance(finished, Finished) and len(finished.outputs) == 1
    assert rank.left() == [f".{1:032x}.part", f".{1:032x}.part/1.txt"]


def test_files_of_derived_names_are_named_and_do_not_stay(rank: Rank) -> None:
    failed = rank.run(1, "several")
    assert failed.error.type == "output_missing"
    assert "it wrote 2 other files such as 1-0.txt beside it" in failed.error.message
    assert failed.error.hint.startswith("return what it made, or write exactly the file that output_path names")
    assert not rank.left()


def test_a_link_is_no_output(rank: Rank) -> None:
    failed = rank.run(1, "linked")
    assert (failed.error.type, "a symbolic link" in failed.error.message) == ("output_missing", True)
    assert not rank.left()


def test_where_no_output_can_be_written_predict_does_not_run(rank: Rank, tmp_path: Path) -> None:
    tmp_path.rmdir()
    failed = rank.run(1, "oil")
    assert (failed.points, failed.error.type) == (0, "output_unwritable")
    assert not any(isinstance(message, Started) for message in rank.sent)


class Cached:
    """As much of a pipeline as the rank puts in order; counts how often."""

    def __init__(self, broken: bool = False) -> None:
        self.broken, self.freed = broken, 0

    def __call__(self, steps: int, callback_on_step_end: Any = None) -> None:
        for step in range(steps):
            callback_on_step_end(self, step, None, {})

    def maybe_free_model_hooks(self) -> None:
        """As diffusers has it."""
        self.freed += 1
        if self.broken:
            raise RuntimeError("broken")


class Pipes(Predictor):
    """The pipelines that it calls are none of diffusers' own, but for the base class."""

    def __init__(self) -> None:
        self.pipe, self.others = Cached(broken=True), [Diffused(), Diffused()]

    def predict(self, style: str, output_path: str) -> None:
        self.pipe(1)
        self.others[0](3)
        Path(output_path).write_text(style)


class Diffused(Cached, DiffusionPipeline):
    """One that is."""

    def __init__(self) -> None:
        DiffusionPipeline.__init__(self)
        self.register_to_config()
        Cached.__init__(self)


@pytest.mark.parametrize("rank", [Pipes], indirect=True)
def test_after_a_cancel_every_pipeline_that_was_called_is_put_in_order(rank: Rank) -> None:
    rank.cancel_at = 3
    rank.cancel = 1
    assert rank.run(1, "oil") == Canceled(1, 0, 3)
    pipes = rank.predictor
    assert (pipes.pipe.freed, [pipe.freed for pipe in pipes.others]) == (1, [1, 0])
    assert isinstance(rank.run(2, "oil"), Finished)
    assert pipes.others[0].freed == 1, "a run that went well is not touched"


@pytest.mark.parametrize("rank", [Pipes], indirect=True)
def test_a_predictor_that_loses_its_pipe_costs_its_job_alone(rank: Rank) -> None:
    del rank.predictor.pipe
    Pipes.pipe = property(lambda self: self.nothing)  # type: ignore[assignment]
    try:
        assert isinstance(rank.run(1, "oil"), Failed)
    finally:
        del Pipes.pipe
    rank.predictor.pipe = Cached()
    assert isinstance(rank.run(2, "oil"), Finished)


def test_each_block_of_an_output_that_is_read_is_a_sign_of_life(rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[Phase] = []
    report = StepBoard.report

    def noted(board: StepBoard, rank: int, serial: int, points: int, phase: Phase) -> None:
        beats.append(phase)
        report(board, rank, serial, points, phase)

    monkeypatch.setattr(StepBoard, "report", noted)
    monkeypatch.setattr(output, "_BLOCK", 1)
    assert isinstance(rank.run(1, "oil"), Finished)
    points, blocks = 1 + 3, len("oil")
    assert beats == [Phase.PREDICT] * (points + blocks) + [Phase.LEFT]


class Returning(Predictor):
    """Returns what it should have written."""

    def predict(self, style: str, output_path: str) -> object:  # type: ignore[override]
        return Path(style) if style == "picture.png" else output_path


@pytest.mark.parametrize(("style", "kind"), [("picture.png", "pathlib.PosixPath"), ("its name", "str")])
def test_the_name_of_a_file_that_is_returned_and_not_written_is_named(tmp_path: Path, style: str, kind: str) -> None:
    rank = Rank(tmp_path, Returning)
    error = rank.run(1, style).error
    assert error.type == "output_missing"
    assert f"returned a value of type {kind}, which is not used, but wrote no file" in error.message
    rank.board.close()


class Drawing(Predictor):
    """Takes no output_path; steps once, so that a run that was refused before is seen."""

    output_suffix = ".webp"

    def predict(self, style: str) -> object:  # type: ignore[override]
        self.step(1, 1)
        picture = Image.new("RGB", (8, 6))
        return {"picture": picture, "several": [picture] * 3, "number": 7, "nothing": None}[style]


def test_a_returned_picture_is_the_output(tmp_path: Path) -> None:
    rank = Rank(tmp_path, Drawing, ".webp")
    (made,) = rank.write(1, "picture").outputs
    assert (made.media_type, made.width, made.height) == ("image/webp", 8, 6)
    assert rank.left() == [f".{1:032x}.part", f".{1:032x}.part/1.webp"]
    rank.board.close()


@pytest.mark.parametrize(
    ("suffix", "style", "kind", "words", "points"),
    [
        (".mp4", "picture", "invalid_input", "output_path: a picture is made: end in one of .png .jpg .jpeg .webp", 0),
        (".png", "number", "output_invalid", "a value of type int is none of PIL pictures, arrays", 2),
        (".png", "nothing", "output_missing", "predict() returned, but wrote no file", 2),
    ],
)
def test_a_value_that_is_no_output_fails_its_job(
    tmp_path: Path, suffix: str, style: str, kind: str, words: str, points: int
) -> None:
    rank = Rank(tmp_path, Drawing, suffix)
    failed = rank.run(1, style)
    assert (failed.error.type, failed.points) == (kind, points)
    assert words in failed.error.message
    assert not failed.traceback and not rank.left()
    rank.board.close()


class WritingToo(Predictor):
    """Writes its file and returns something besides, as older predictors may."""

    def predict(self, style: str, output_path: str) -> object:  # type: ignore[override]
        Path(output_path).write_text(style)
        return {"style": style}


def test_a_file_that_was_written_goes_before_what_is_returned(tmp_path: Path) -> None:
    rank = Rank(tmp_path, WritingToo)
    (made,) = rank.run(1, "oil").outputs
    assert made.size == len("oil")
    rank.board.close()


class ByPath(Predictor):
    """Takes output_path as a Path."""

    def predict(self, style: str, output_path: Path) -> None:  # type: ignore[override]
        output_path.write_text(style)


def test_an_output_path_that_is_annotated_as_a_path_is_one(tmp_path: Path) -> None:
    rank = Rank(tmp_path, ByPath)
    assert isinstance(rank.run(1, "oil"), Finished)
    rank.board.close()


@pytest.mark.parametrize("made_in_setup", [True, False])
def test_a_run_that_leaves_no_process_group_says_so_where_setup_had_made_one(
    made_in_setup: bool, tmp_path: Path
) -> None:
    with pretend_world(1) if made_in_setup else nullcontext():
        rank = Rank(tmp_path)
        assert rank.run(1, "oil").connected
        if made_in_setup:
            dist.destroy_process_group()
        assert rank.run(2, "oil").connected is not made_in_setup
        if made_in_setup:
            dist.init_process_group("fake", rank=0, world_size=1)
    rank.board.close()


class Describing(Predictor):
    """Returns JSON, and says nothing of its suffix."""

    def predict(self, style: str) -> object:  # type: ignore[override]
        return {"style": style}


def test_a_returned_value_of_another_kind_leaves_no_file_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rank = Rank(tmp_path, Describing)
    rank.name = lambda serial: tmp_path / "2026" / "11" / "26" / f"{serial:032x}.png"
    (made,) = rank.write(1, "oil").outputs
    assert Path(made.path).name == f"{1:032x}.json"
    assert "removed extra files" not in caplog.text
    rank.board.close()
