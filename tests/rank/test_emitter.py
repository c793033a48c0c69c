"""Events leave a rank in order and in small pieces; the model never waits for them, and what is lost is counted."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from typing import Any

import pytest
from waiting import wait_until

from para_attn_server.core.emitted import LARGEST_BINARY, checked
from para_attn_server.core.wire.ranks import Emit, FromRank
from para_attn_server.rank.emitter import MOST_WAITING, PIECE, Emitter
from para_attn_server.rank.main import Link


class Controller:
    """What a rank has sent. taking: the pipe is empty again after each message."""

    def __init__(self) -> None:
        self.pieces: list[Emit] = []
        self.taking = True
        self.emitter = Emitter(self.offer, self.send, lambda: self.taking)
        self.emitter.begin(7)

    def send(self, message: FromRank) -> None:
        assert isinstance(message, Emit) and message.serial == 7 and len(message.data) <= PIECE
        self.pieces.append(message)

    def offer(self, message: FromRank) -> bool:
        self.send(message)
        return True

    def add(self, *events: tuple[str, Any]) -> None:
        for kind, data in events:
            self.emitter.add(checked(kind, data))

    def stop_taking(self) -> None:
        """From now on events wait; one of them is in the hands of the thread that sends."""
        self.taking = False
        self.add(("first", 0))
        wait_until(lambda: not self.emitter._waiting, 5)

    @property
    def events(self) -> list[tuple[str, Any]]:
        """What has come whole."""
        found, data = [], b""
        for piece in self.pieces:
            data += piece.data
            if not piece.more:
                found.append((piece.kind, data if piece.binary else json.loads(data)))
                data = b""
        return found

    @property
    def dropped(self) -> int:
        return sum(piece.dropped for piece in self.pieces)


@pytest.fixture
def controller() -> Controller:
    return Controller()


def test_events_come_at_once_in_order_and_whole(controller: Controller) -> None:
    events: list[tuple[str, Any]] = [
        ("a", {"n": 1}),
        ("picture", bytes(range(256)) * 500),
        ("b", ["ü", None]),
        ("c", 3),
    ]
    controller.add(*events)
    wait_until(lambda: controller.events == events, 5)
    assert controller.dropped == 0 and len(controller.pieces) > 10


def test_what_waits_at_the_end_of_a_run_goes_before_its_end(controller: Controller) -> None:
    controller.stop_taking()
    controller.add(("a", 1), ("preview", b"x"), ("b", 2))
    controller.emitter.end()
    assert controller.events == [("first", 0), ("a", 1), ("preview", b"x"), ("b", 2)] and controller.dropped == 0
    controller.add(("late", 1))
    controller.emitter.begin(7)
    controller.add(("next", 1))
    controller.emitter.end()
    assert controller.events[4:] == [("next", 1)]


def test_pieces_of_text_that_wait_are_joined_and_none_is_lost(controller: Controller) -> None:
    controller.stop_taking()
    words = [f"{number}\n" for number in range(5000)]
    controller.add(*(("text", word) for word in words), ("a", 1), ("text", "end"))
    controller.emitter.end()
    assert "".join(data for kind, data in controller.events if kind == "text") == "".join(words) + "end"
    assert controller.dropped == 0 and len(controller.events) < 10


def test_of_pictures_that_wait_the_latest_of_each_kind_is_sent(controller: Controller) -> None:
    controller.stop_taking()
    controller.add(("preview", b"1"), ("mask", b"1"), ("a", 1), ("preview", b"2"))
    controller.taking = True
    wait_until(lambda: len(controller.events) == 4, 5)
    assert controller.events[1:] == [("mask", b"1"), ("a", 1), ("preview", b"2")] and controller.dropped == 0


def test_of_other_events_that_wait_the_oldest_are_dropped_and_counted(controller: Controller) -> None:
    controller.stop_taking()
    controller.add(("text", "stays"), *(("n", number) for number in range(500)))
    controller.emitter.end()
    numbers = [data for kind, data in controller.events if kind == "n"]
    assert numbers == list(range(500 - len(numbers), 500)) and len(numbers) == MOST_WAITING - 1
    assert controller.dropped == 500 - len(numbers) and ("text", "stays") in controller.events


def test_a_rank_that_emits_all_the_time_sends_so_many_a_second(controller: Controller) -> None:
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < 0.5:
        controller.add(("n", number))
        number += 1
        time.sleep(0)
    assert 3 <= len(controller.events) <= 60
    controller.emitter.end()
    assert len(controller.events) + controller.dropped == number


def test_nobody_waits_where_the_controller_does_not_read() -> None:
    """On a real pipe: emitting costs nothing, and the rank's other messages find room."""
    ours, theirs = multiprocessing.Pipe()
    link = Link(ours)
    emitter = Emitter(link.offer, link.send, link.idle)
    emitter.begin(1)
    began = time.monotonic()
    for number in range(300):
        emitter.add(checked(f"k{number % 9}", bytes(LARGEST_BINARY // 4)))
    assert time.monotonic() - began < 1.0
    wait_until(lambda: not link.idle(), 5)
    assert link.offer(Emit(1, "other", b"0", False)), "no more than one piece is on its way"
    read: list[Any] = []
    reader = threading.Thread(target=lambda: read.extend(theirs.recv() for _ in range(9 * 22)), daemon=True)
    reader.start()
    wait_until(lambda: sum(not piece.more for piece in read) >= 3, 20, "the first pictures")
    emitter.end()
