"""A job's log on its rank: bounded in size, rate and time, and nothing that is left out goes uncounted."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import pytest
from waiting import wait_until

from para_attn_server.core.wire.ranks import FromRank, Log
from para_attn_server.rank.job_log import AT_ONCE, HELD, LONGEST, JobLog, as_line
from para_attn_server.rank.main import Link


class Controller:
    """What a rank's log has told. full: the pipe has no room."""

    def __init__(self) -> None:
        self.sent: list[Log] = []
        self.full, self.now = False, 0.0

    def send(self, message: FromRank) -> None:
        assert isinstance(message, Log)
        self.sent.append(message)

    def offer(self, message: FromRank) -> bool:
        if not self.full:
            self.send(message)
        return not self.full

    def log(self) -> JobLog:
        """One that tells this controller, in a run."""
        log = JobLog(self.offer, self.send, lambda: self.now)
        log.begin(7)
        return log

    @property
    def lines(self) -> list[str]:
        return [line for message in self.sent for line in message.lines]

    @property
    def left_out(self) -> int:
        return sum(message.left_out for message in self.sent)


@pytest.fixture
def controller() -> Controller:
    return Controller()


class Silent:
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Odd(str):
    def __getitem__(self, key: Any) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("read caf\udce9.png as caf\u00e9.png", "read caf?.png as caf\u00e9.png"),
        (3, "3"),
        (None, "None"),
        ("two\r\nlines\n", "two\nlines"),
        ("\x1b]0;title\x07 \x9b2J\x00", "?]0;title? ?2J?"),
        ("a\ttab", "a\ttab"),
        (Silent(), "(Silent has no text: KeyboardInterrupt)"),
        (Odd("odd"), "odd"),
        ("", ""),
    ],
)
def test_any_object_becomes_text_that_can_be_shown(text: object, line: str) -> None:
    assert as_line(text) == line


@pytest.mark.parametrize("text", ["x" * 100_000_000, "\u20ac" * LONGEST, "\n" * 10_000, "\udcff" * 10_000])
def test_a_line_is_cut(text: str) -> None:
    line = as_line(text)
    assert len(line.encode()) <= LONGEST
    assert text[0] == "\udcff" or line.removesuffix("...") == text[: len(line.removesuffix("..."))]


def test_a_few_lines_are_sent_at_once(controller: Controller) -> None:
    log = controller.log()
    for number in range(AT_ONCE):
        log.add(number)
        assert controller.lines[-1] == str(number)
    log.end()
    assert (
        len(controller.sent) == AT_ONCE
        and controller.left_out == 0
        and {message.serial for message in controller.sent} == {7}
    )


def test_of_a_flood_the_first_and_the_last_lines_of_each_second_come_and_the_rest_is_counted(
    controller: Controller,
) -> None:
    log = controller.log()
    for number in range(30_000):
        controller.now = number / 10_000
        log.add(number)
    log.end()
    expected = [
        str(second * 10_000 + number)
        for second in range(3)
        for number in [*range(AT_ONCE), *range(10_000 - HELD, 10_000)]
    ]
    assert controller.lines == expected
    assert controller.left_out == 30_000 - len(expected)


def test_what_is_held_comes_though_nothing_follows(controller: Controller) -> None:
    log = controller.log()
    for number in range(AT_ONCE + 2):
        log.add(number)
    assert len(controller.lines) == AT_ONCE
    wait_until(lambda: len(controller.lines) == AT_ONCE + 2, 10, "the held lines")
    log.end()


def test_a_full_pipe_is_not_waited_for_and_what_it_does_not_take_is_counted(controller: Controller) -> None:
    log = controller.log()
    log.add("first")
    controller.full = True
    for number in range(10):
        log.add(number)
    assert controller.lines == ["first"]
    controller.full = False
    log.add("again")
    assert controller.sent[-1] == Log(7, ["again"], left_out=10)
    log.end()


def test_lines_outside_a_run_are_dropped(controller: Controller) -> None:
    log = JobLog(controller.offer, controller.send)
    log.add("before")
    log.begin(1)
    log.end()
    log.add("after")
    assert controller.sent == []


def test_lines_of_many_threads_are_all_there_or_counted(controller: Controller) -> None:
    log = controller.log()
    threads = [threading.Thread(target=lambda: [log.add("x") for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.end()
    assert len(controller.lines) + controller.left_out == 8 * 500


def test_a_destructor_may_log_while_a_line_is_logged(controller: Controller) -> None:
    log = controller.log()

    class Last:
        def __del__(self) -> None:
            log.add("from a destructor")

    def offer(message: FromRank) -> bool:
        keep.clear()
        return controller.offer(message)

    keep = [Last()]
    log._offer = offer
    log.add("a line")
    log.end()
    assert sorted(controller.lines) == ["a line", "from a destructor"]


def filled(pipe: Link, line: str) -> int:
    """How many offers a pipe takes that nobody reads."""
    taken = 0
    while pipe.offer(Log(1, [line])):
        taken += 1
        assert taken < 10_000
    return taken


@pytest.mark.parametrize("size", [1, 200, LONGEST * 4])
def test_an_offer_to_a_pipe_that_nobody_reads_returns(size: int) -> None:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        pipe = Link(theirs)
        done = threading.Thread(target=filled, args=(pipe, "x" * size), daemon=True)
        done.start()
        done.join(20)
        assert not done.is_alive(), "an offer waits"
        received: list[Any] = []
        while ours.poll(0):
            received.append(ours.recv())
        assert received and all(message == Log(1, ["x" * size]) for message in received), "no message is cut"
        assert pipe.offer(Log(1, ["room again"]))


def test_an_offer_does_not_wait_for_another_threads_message() -> None:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        pipe = Link(theirs)
        sending = threading.Thread(target=pipe.send, args=(Log(1, ["x" * 2**20]),))
        sending.start()
        wait_until(lambda: ours.poll(0), 10, "the message to be under way")
        assert not pipe.offer(Log(1, ["meanwhile"]))
        assert ours.recv() == Log(1, ["x" * 2**20])
        sending.join(10)
        assert pipe.offer(Log(1, ["afterward"])) and ours.recv() == Log(1, ["afterward"])
