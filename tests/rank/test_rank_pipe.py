"""A rank's pipe: nothing that is read is lost, and what several threads send arrives whole."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
from waiting import wait_until

from para_attn_server.core.wire.ranks import Cancel, Log, Run, Settle, Stop
from para_attn_server.rank.main import Link

RUN = Run("job2", 2, {"seed": 1}, "/outputs/2.png")


@pytest.fixture
def ends() -> Iterator[tuple[Link, Connection]]:
    """The rank's end, and the controller's."""
    ours, controllers = multiprocessing.Pipe()
    yield Link(ours), controllers
    ours.close()
    controllers.close()


def test_what_comes_beside_a_cancel_is_kept_in_order(ends: tuple[Link, Connection]) -> None:
    pipe, controller = ends
    for message in (Settle(1), Cancel(1), RUN, Cancel(2)):
        controller.send(message)
    assert not pipe.canceled(1), "a later one has come"
    assert pipe.canceled(2)
    controller.send(Stop())
    assert [pipe.receive(), pipe.receive(), pipe.receive()] == [Settle(1), RUN, Stop()]


def test_a_look_for_a_cancel_takes_nothing_from_a_thread_that_receives(ends: tuple[Link, Connection]) -> None:
    pipe, controller = ends
    received: list[object] = []
    thread = threading.Thread(target=lambda: received.append(pipe.receive()))
    thread.start()
    wait_until(lambda: pipe._reading.locked())
    assert not pipe.canceled(2)
    controller.send(RUN)
    thread.join(30)
    assert received == [RUN]


def test_messages_of_several_threads_arrive_whole(ends: tuple[Link, Connection]) -> None:
    pipe, controller = ends
    texts = [letter * 50_000 for letter in "abcd"]

    def send(text: str) -> None:
        for _ in range(20):
            pipe.send(Log(1, [text]))

    threads = [threading.Thread(target=send, args=(text,), daemon=True) for text in texts]
    for thread in threads:
        thread.start()
    arrived = [controller.recv().lines[0] for _ in range(80)]
    for thread in threads:
        thread.join(30)
    assert sorted(arrived) == sorted(texts * 20)


def test_a_process_that_a_predictor_forked_sends_nothing(ends: tuple[Link, Connection]) -> None:
    pipe, controller = ends
    child = os.fork()
    if child == 0:
        pipe.send(Log(1, ["from a child"]))
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert not controller.poll()
