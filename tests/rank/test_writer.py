"""What a rank has still to write of a run, while it is in the next one already."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import read_frames
from PIL import Image
from test_runner import Rank
from waiting import wait_until

from para_attn_server.core import output
from para_attn_server.core.predictor import Predictor
from para_attn_server.core.results import Video
from para_attn_server.core.wire.ranks import Finished, Unwritten, Written
from para_attn_server.rank.encode import pictures

GATE = threading.Event()


class Brush(Predictor):
    """Draws into one and the same array in every run; keeps what it has returned."""

    def __init__(self) -> None:
        self.canvas = np.zeros((6, 8, 3), np.uint8)

    def predict(self, style: str) -> object:  # type: ignore[override]
        kind, brightness = style.split()
        self.canvas[:] = int(brightness)
        if kind == "video":
            return Video([self.canvas] * 1000, fps=50)
        return self.canvas if kind == "whole" else self.canvas[:, ::2]


@pytest.fixture
def rank(tmp_path: Path) -> Iterator[Rank]:
    rank = Rank(tmp_path, Brush, ".png")
    yield rank
    GATE.set()
    rank.board.close()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Pictures are saved once it is open."""
    save = pictures.save

    def slow(image: Image.Image, path: Path) -> dict[str, Any]:
        path.write_bytes(b"half of it")
        assert GATE.wait(30)
        return save(image, path)

    GATE.clear()
    monkeypatch.setattr(pictures, "save", slow)
    return GATE


@pytest.mark.parametrize("kind", ["whole", "part"])
def test_the_next_run_does_not_change_what_is_still_to_be_written(
    rank: Rank, gate: threading.Event, kind: str, tmp_path: Path
) -> None:
    rank.run(1, f"{kind} 10")
    rank.run(2, f"{kind} 20")
    assert not [each for each in rank.sent if isinstance(each, Written)]
    gate.set()
    for serial, brightness in ((1, 10), (2, 20)):
        (made,) = rank.wait_written(serial).outputs
        drawn = Image.open(output.temporary_path(made.path, f"{serial:032x}"))
        assert drawn.getextrema() == ((brightness, brightness),) * 3


def test_the_rank_has_left_the_run_before_its_output_is_written(rank: Rank, gate: threading.Event) -> None:
    finished = rank.run(1, "whole 10")
    assert isinstance(finished, Finished)
    assert (finished.outputs, finished.held) == ((), 6 * 8 * 3)
    gate.set()
    written = rank.wait_written(1)
    assert written.seconds >= finished.timings["write"]


def test_a_writing_that_is_stopped_leaves_nothing(rank: Rank, gate: threading.Event) -> None:
    rank.run(1, "whole 10")
    wait_until(lambda: len(rank.left()) == 2, 10, "half of a picture")
    rank.runner.writer.stop(1)
    rank.runner.writer.stop(7)
    gate.set()
    assert rank.wait_written(1) == Unwritten(1)
    assert not rank.left()
    assert isinstance(rank.write(2, "whole 20"), Written)


def test_an_encoder_that_fails_costs_its_job_alone(rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "save", fail)
        unwritten = rank.write(1, "whole 10")
    assert (unwritten.error.type, unwritten.error.rank) == ("output_unwritable", 0)
    assert not rank.left()
    assert isinstance(rank.write(2, "whole 20"), Written)


def test_a_stop_ends_ffmpeg_at_once(tmp_path: Path) -> None:
    rank = Rank(tmp_path, Brush, ".mp4")
    rank.predictor.output_suffix = ".mp4"
    rank.run(1, "video 10")
    wait_until(lambda: len(rank.left()) == 2, 10, "the beginning of a video")
    rank.runner.writer.stop(1)
    assert rank.wait_written(1) == Unwritten(1)
    assert not rank.left()
    (made,) = rank.write(2, "video 20").outputs
    assert next(read_frames(output.temporary_path(made.path, f"{2:032x}")))["duration"] == pytest.approx(20, 0.1)
    rank.board.close()
