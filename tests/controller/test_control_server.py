"""What web workers get from the control server, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from para_attn_server.controller.control_server import ControlServer, WebConnection
from para_attn_server.core.wire.control import CancelOrder, CancelReply, Follow, JobUpdate, LineBuffer, PoolView, encode


def test_replies_to_orders_come_when_they_are_known_each_to_its_order() -> None:
    replies: list[Callable[[CancelReply], None]] = []
    server = ControlServer(lambda *_: None, lambda _, reply: replies.append(reply), lambda: PoolView(started_at=1.0))
    connection, lines = WebConnection(server), list[bytes]()
    connection.write = lines.append  # type: ignore[method-assign]
    connection.data_received(b"".join(encode(CancelOrder(number, "a")) for number in range(3)))
    assert lines == [] and len(replies) == 3
    sent = [CancelReply(2, "a"), CancelReply(0, None, "full"), CancelReply(1, None)]
    for reply in sent:
        replies[reply.request](reply)
    assert list(LineBuffer().feed(b"".join(lines))) == sent


def test_steps_go_to_those_who_follow_the_job_and_all_else_to_everybody() -> None:
    server = ControlServer(lambda *_: None, lambda *_: None, lambda: PoolView(started_at=1.0))
    told: dict[str, list[Any]] = {}
    for name in ("follows", "does not", "is late"):
        connection = WebConnection(server)
        lines: list[bytes] = []
        connection.write = lines.append
        server.opened(connection)
        lines.clear()
        told[name] = [connection, lines]

    def run(status: str, step: int) -> None:
        server.publish(JobUpdate("a", status, step, 9))

    def follow(name: str) -> None:
        told[name][0].data_received(encode(Follow("a")))

    follow("is late")  # it does not run yet
    for attempt in range(2):
        run("running", 0)
        follow("follows")
        run("running", 1 + attempt)
        run("queued", 0)
    run("running", 0)
    run("running", 5)
    follow("is late")
    run("running", 6)
    run("succeeded", 9)

    def heard(name: str) -> list[tuple[str, int]]:
        return [(update.status, update.step) for update in LineBuffer().feed(b"".join(told[name][1]))]

    everybody = [("running", 0), ("queued", 0)] * 2 + [("running", 0), ("succeeded", 9)]
    assert heard("does not") == everybody
    first, second = [("running", 0), ("running", 1)], [("running", 0), ("running", 2)]
    again = ("running", 0)  # the latest step, in answer to Follow
    assert heard("follows") == [
        again,
        *first,
        ("queued", 0),
        again,
        *second,
        ("queued", 0),
        ("running", 0),
        ("succeeded", 9),
    ]
    assert heard("is late") == [*everybody[:5], ("running", 5), ("running", 6), ("succeeded", 9)]
