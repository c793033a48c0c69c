"""What a controller and its agent say to each other: it arrives as it was sent, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from para_attn_server.core.errors import JobError, UsageError
from para_attn_server.core.wire.ranks import Failed
from para_attn_server.core.wire.step_board import Phase, Progress
from para_attn_server.executors.agent import link
from para_attn_server.executors.agent.link import (
    Link,
    LinkLost,
    NotTrusted,
    accept,
    connect,
    read_secret,
    split_address,
)
from para_attn_server.executors.agent.steps import ReportedSteps, StepReporter
from para_attn_server.executors.agent.wire import Alive, FromAgent, Said, ToAgent, decode, encode

SECRET = b"sixteen and more characters"
TEXT = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates too
NUMBERS = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["type", "prompt", "rank"]), JSON, max_size=3)
PLAIN: dict[Any, Any] = {
    int: st.integers(),
    str: TEXT,
    float: NUMBERS,
    bool: st.booleans(),
    bytes: st.binary(max_size=5),
    type(None): st.none(),
    Any: JSON,
}


def any_of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of that type; a dict holds JSON."""
    if hint in PLAIN:
        return PLAIN[hint]
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return st.one_of(*map(any_of, inside))
    if origin is tuple:
        return st.lists(any_of(inside[0]), max_size=2).map(tuple)
    if origin is list:
        return st.lists(any_of(inside[0]), max_size=2)
    if origin is dict:
        return ARGUMENTS if inside[1] is Any else st.dictionaries(TEXT, any_of(inside[1]), max_size=2)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return st.builds(hint, **{name: any_of(each) for name, each in get_type_hints(hint).items()})


def test_a_failure_arrives_with_its_error() -> None:
    message = Said(0, 1, 0, Failed(7, 0, 3, JobError("ValueError", "no", 0, 3)))
    assert decode(encode(message)) == message


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_message_arrives_as_it_was_sent(data: st.DataObject) -> None:
    classes = sorted(get_args(ToAgent | FromAgent), key=lambda each: each.__name__)
    message = data.draw(any_of(data.draw(st.sampled_from(classes))))
    payload = encode(message)
    assert decode(payload) == message
    json.loads(payload)
    assert payload.isascii() and b"\n" not in payload


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"3",
        b"{}",
        b'{"class": "Nothing"}',
        b'{"class": "Kill"}',
        b'{"class": "Kill", "group": 1, "generation": 1, "rank": 1, "more": 1}',
        b'{"class": "Tell", "group": 1, "generation": 1, "rank": 1, "message": {"class": "Finished"}}',
        b'{"class": "Tell", "group": 1, "generation": 1, "rank": 1, "message": null}',
        b"\xff",
        b"[" * 100000,
    ],
)
def test_what_is_no_message_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode(payload)


class Pair:
    """A controller's and an agent's end on a loop of their own; `on_way` may change what the agent gets."""

    def __init__(self, secrets: tuple[bytes, bytes] = (SECRET, SECRET)) -> None:
        self.secrets = secrets
        self.refusal: Exception | None = None

    async def play(self, scenario: Callable[[Link, Link], Awaitable[None]]) -> None:
        ends: asyncio.Queue[Link | Exception] = asyncio.Queue()

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await ends.put(await accept(reader, writer, self.secrets[1]))
            except LinkLost as error:
                await ends.put(error)
                writer.close()

        server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        async with server:
            controller = await connect(*server.sockets[0].getsockname()[:2], self.secrets[0])
            agent = await ends.get()
            assert isinstance(agent, Link)
            try:
                await scenario(controller, agent)
            finally:
                controller.abort()
                agent.abort()


def test_two_that_share_the_secret_talk_both_ways() -> None:
    async def scenario(controller: Link, agent: Link) -> None:
        for _ in range(3):
            controller.send(Alive())
            assert await agent.receive() == Alive()
            agent.send(Alive())
            assert await controller.receive() == Alive()
        controller.close()
        with pytest.raises(LinkLost):
            await agent.receive()

    asyncio.run(Pair().play(scenario))


def test_another_secret_or_another_version_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(controller: Link, agent: Link) -> None:
        raise AssertionError

    with pytest.raises(NotTrusted, match="the secrets differ"):
        asyncio.run(Pair((SECRET, SECRET + b"!")).play(never))
    versions = iter(["1", "2", "2"])
    monkeypatch.setattr(link, "_version", lambda: next(versions))
    with pytest.raises(NotTrusted, match="the agent is version 2, the server 1"):
        asyncio.run(Pair().play(never))


def test_a_frame_that_is_changed_or_repeated_on_its_way_ends_the_connection() -> None:
    async def changed(controller: Link, agent: Link) -> None:
        write = controller._writer.write
        controller._writer.write = lambda data: write(data[:-1] + bytes([data[-1] ^ 1]))  # type: ignore[method-assign]
        controller.send(Alive())
        with pytest.raises(LinkLost, match="changed"):
            await agent.receive()

    async def repeated(controller: Link, agent: Link) -> None:
        write = controller._writer.write
        controller._writer.write = lambda data: write(data + data)  # type: ignore[method-assign]
        controller.send(Alive())
        assert await agent.receive() == Alive()
        with pytest.raises(LinkLost, match="changed"):
            await agent.receive()

    asyncio.run(Pair().play(changed))
    asyncio.run(Pair().play(repeated))


def test_an_agent_that_does_not_hold_the_secret_is_not_trusted() -> None:
    async def play() -> None:
        async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link._write_words(writer, nonce="0")
            words = await link._read_words(reader)
            link._write_words(writer, proof=words["proof"])  # all that it has seen
            writer.close()

        server = await asyncio.start_server(impostor, "127.0.0.1", 0)
        async with server:
            with pytest.raises(NotTrusted):
                await connect(*server.sockets[0].getsockname()[:2], SECRET)

    asyncio.run(play())


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2{}", b"\0\0\0\1\xff", b"\xff" * 100, b""])
def test_garbage_before_the_proof_is_refused(garbage: bytes) -> None:
    async def play() -> None:
        refused: asyncio.Queue[Exception] = asyncio.Queue()

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await accept(reader, writer, SECRET)
            except LinkLost as error:
                await refused.put(error)
            writer.close()

        server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(garbage)
            writer.write_eof()
            assert isinstance(await asyncio.wait_for(refused.get(), 5), LinkLost)
            writer.close()

    asyncio.run(play())


def test_the_secret_comes_from_the_environment_or_a_file_and_goes_no_further(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret in a file\n")
    environment = {link.SECRET_FILE_VARIABLE: str(tmp_path / "secret")}
    assert read_secret(environment) == b"a secret in a file" and not environment
    environment = {link.SECRET_VARIABLE: "a secret right here"}
    assert read_secret(environment) == b"a secret right here" and not environment
    for wrong in (
        {},
        {link.SECRET_VARIABLE: "short"},
        {link.SECRET_FILE_VARIABLE: str(tmp_path)},
        {link.SECRET_FILE_VARIABLE: "/no/such"},
    ):
        with pytest.raises(UsageError, match=r"secret|SECRET"):
            read_secret(wrong)


def test_an_address_is_a_host_and_a_port() -> None:
    assert split_address("10.0.0.7:5800") == ("10.0.0.7", 5800)
    assert split_address("[::1]:1") == ("::1", 1)
    for wrong in ("", "host", "host:", ":1", "host:x", "host:70000", "host:\u0661"):
        with pytest.raises(UsageError, match="HOST:PORT"):
            split_address(wrong)


class Board:
    def __init__(self) -> None:
        self.seen = Progress(0, 0, Phase.IDLE, 0.0, 0, None)

    def progress(self, rank: int) -> Progress:
        return self.seen


def test_steps_are_reported_where_they_have_changed_and_a_moment_only_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {"agent": 1000.0, "controller": 5.0}
    board, here = Board(), ReportedSteps(1)
    reporter = StepReporter(0, 1, 1, board)

    def report(delay: float = 0.0) -> list[Any]:
        monkeypatch.setattr("para_attn_server.executors.agent.steps.time.monotonic", lambda: clocks["agent"])
        reports = list(reporter.changes())
        clocks["controller"] += delay
        monkeypatch.setattr("para_attn_server.executors.agent.steps.time.monotonic", lambda: clocks["controller"])
        for each in reports:
            here.take(each)
        return reports

    assert not report()
    board.seen = Progress(3, 2, Phase.PREDICT, 999.5, 1, 9)
    assert len(report()) == 1 and not report()
    assert here.progress(0) == Progress(3, 2, Phase.PREDICT, 4.5, 1, 9)
    board.seen = Progress(3, 2, Phase.PREDICT, 999.5, 1, 9, logged=1000.0)
    report(delay=2.0)
    assert here.progress(0) == Progress(3, 2, Phase.PREDICT, 4.5, 1, 9, logged=7.0), "no heartbeat by the way"
    clocks["controller"] = 1.0  # as if the last report had been quick and this one slow
    board.seen = Progress(3, 3, Phase.PREDICT, 999.9, 1, 9, logged=1000.0)
    report()
    assert here.progress(0).heartbeat > 4.5
