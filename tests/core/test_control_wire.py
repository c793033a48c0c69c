"""The control channel: every message survives the wire, however it is cut, and the socket fits any directory."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from para_attn_server.core.job import Job, JobStatus, Priority
from para_attn_server.core.wire import control as channel
from para_attn_server.core.wire.control import (
    Alive,
    Beat,
    CancelOrder,
    CancelReply,
    Follow,
    GroupState,
    GroupView,
    JobUpdate,
    LineBuffer,
    Listen,
    LiveEvent,
    LiveMark,
    PoolView,
    QueueView,
    RankView,
    RowsWritten,
    Submitted,
    ToController,
    ToWeb,
    Unlisten,
    connect,
    decode,
    encode,
    listen,
)

JOB = Job("j1", 3, JobStatus.QUEUED, None, "/out/\u00fc.png", 12.5)
GROUP = GroupView(
    0,
    GroupState.RECOVERING,
    12.5,
    [RankView(0, 4711, "cuda:0"), RankView(1, None, None)],
    job_id="j1",
    cause='died\n"ü"',
)
MESSAGES: list[ToController | ToWeb] = [
    Submitted(JOB),
    Submitted(replace(JOB, deadline=9.5, seed=7, created_steady=3.5), "r1"),
    Submitted(replace(JOB, priority=Priority.HIGH, inputs=("ab", "cd"), target=3.5, metadata={"a": [1]}, model="m")),
    Follow("j1"),
    Listen("j1"),
    Unlisten("j1"),
    LiveEvent("j1", 2, 17, "text", 12.5, '"\u2028a\\n"', False),
    LiveEvent("j1", 2, 18, "preview", 12.5, "/9j/", True),
    LiveMark("j1", 2, 18, over=True),
    RowsWritten("j1"),
    Alive(),
    Beat(),
    Beat(0.001, 0.05, 1.5),
    CancelOrder(1, "j1"),
    CancelOrder(2, None),
    CancelReply(1, "j1"),
    CancelReply(2, None),
    JobUpdate("j1", "running", 3, 20),
    JobUpdate("j1", "queued", 0, None),
    PoolView(12.5),
    QueueView(),
    QueueView(["j1", "j2"], [3.5, None], {"j3": 1.5}, 2.5, 1, 0.01),
    PoolView(12.5, True, [GROUP, GroupView(1, GroupState.READY, 1.0, [])], 3.5, {"torch": "2.9", "para-attn": "0.3"}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_one_line_and_comes_back_equal(message: ToController | ToWeb) -> None:
    line = encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode(line) == message


def test_every_message_type_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == {*get_args(ToController), *get_args(ToWeb)}


@given(st.lists(st.sampled_from(MESSAGES), max_size=6), st.data())
def test_messages_arrive_whole_wherever_the_stream_is_cut(
    messages: list[ToController | ToWeb], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    buffer, received = LineBuffer(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += buffer.feed(stream[start:end])
    assert received == messages


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"no json\n",
        b"[]\n",
        b"3\n",
        b'{"type": "Nonsense"}\n',
        b'{"type": []}\n',
        b'{"job_id": "j1"}\n',
        b'{"type": "Submitted"}\n',
        b'{"type": "Submitted", "job": {"id": "j1", "status": "queued", "more": 1}}\n',
        b'{"type": "Submitted", "job": {"id": "j1", "status": "odd"}}\n',
        b'{"type": "Submitted", "job": "j1"}\n',
        b'{"type": "PoolView", "started_at": 1}\n',
        b'{"type": "PoolView", "started_at": 1, "groups": [3]}\n',
        b'{"type": "PoolView", "started_at": 1, "groups": [{"index": 0, "state": "odd", "since": 1, "ranks": []}]}\n',
        b"\xff\n",
    ],
)
def test_a_line_that_is_no_message_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(line)


def test_a_pool_is_broken_where_all_of_its_groups_are() -> None:
    broken, busy = (GroupView(0, state, 1.0, [], cause="no GPU") for state in (GroupState.BROKEN, GroupState.BUSY))
    assert PoolView(1.0, groups=[broken, replace(broken, cause="other")]).broken == "no GPU"
    assert PoolView(1.0, groups=[replace(broken, cause=None)]).broken == "all worker groups are broken"
    assert PoolView(1.0, groups=[broken, busy]).broken is None and PoolView(1.0).broken is None


def test_a_groups_state_crosses_as_a_type() -> None:
    view = decode(encode(PoolView(1.0, groups=[GROUP])))
    assert isinstance(view, PoolView) and view.groups[0].state is GroupState.RECOVERING


@pytest.mark.parametrize("depth", [0, 12])
def test_controller_and_web_meet_in_any_state_directory(tmp_path: Path, depth: int) -> None:
    state_dir = tmp_path.joinpath(*["a-rather-long-folder-name"] * depth)
    state_dir.mkdir(parents=True, exist_ok=True)
    with listen(state_dir) as server, connect(state_dir) as client:
        assert stat.S_IMODE((state_dir / channel.SOCKET_NAME).stat().st_mode) == 0o600
        assert not server.getblocking() and not server.get_inheritable() and not client.get_inheritable()
        accepted, _ = server.accept()
        with accepted:
            client.sendall(encode(Submitted(JOB)))
            assert list(LineBuffer().feed(accepted.recv(4096))) == [Submitted(JOB)]


def test_a_socket_left_by_a_dead_controller_is_replaced(tmp_path: Path) -> None:
    listen(tmp_path).close()
    with pytest.raises(ConnectionRefusedError):
        connect(tmp_path)
    with listen(tmp_path), connect(tmp_path):
        pass


def test_connecting_without_a_controller_is_an_os_error_and_leaks_nothing(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(OSError, match=r"."):
            connect(place)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
